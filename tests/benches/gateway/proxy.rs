//! A reverse proxy that does nothing but pass things on, made of the parts that the gateway is made of.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::net::TcpListener;

#[derive(Clone)]
struct Proxy {
    client: Client<HttpConnector, Body>,
    to: String,
}

/// Passes everything on `to` a server, and says where on standard error.
pub(super) async fn serve(to: String) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    super::say(&format!("answers at http://{}", listener.local_addr().unwrap()));
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let app = Router::new().fallback(pass).with_state(Proxy { client, to });
    axum::serve(listener, app).await.unwrap();
}

async fn pass(State(proxy): State<Proxy>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("{}{path}", proxy.to).parse().unwrap();
    request.headers_mut().remove("host");
    proxy.client.request(request).await.unwrap().into_response()
}
