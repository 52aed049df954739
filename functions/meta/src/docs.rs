//! `GET /openapi.json`, `/docs` and `/redoc`: the API document, and two pages that show it. All of it comes from the binary.

use std::sync::Arc;

use axum::{
    Extension,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderName, HeaderValue, header};
use utoipa_swagger_ui::Config;
use web::{Document, Error};

/// The whole API as an OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", tag = "meta",
    responses((status = 200, description = "The document.", content_type = "application/json", body = Object)))]
pub(crate) async fn get_openapi(Extension(Document(document)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

/// Swagger UI's files are named relatively, so its page has to lie in a folder; and by its name there, because a gateway may take a path that
/// ends with a slash for the one without.
pub(crate) async fn swagger_index() -> Redirect {
    Redirect::temporary("/docs/index.html")
}

/// Nothing but our own files: Swagger UI writes styles into its page, and draws with data images.
const SWAGGER: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
/// Redoc is one page with its program in it, which searches in a worker.
const REDOC: &str = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:; frame-ancestors 'none'";

pub(crate) async fn swagger_file(path: Option<Path<String>>) -> Result<Response, Error> {
    let file = path.map_or_else(String::new, |Path(file)| file);
    let config = Arc::new(Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(&file, config) {
        Ok(Some(file)) => Ok(page(&file.content_type, file.bytes.into_owned(), SWAGGER)),
        Ok(None) => Err(Error::NotFound("Not Found")),
        Err(error) => Err(Error::Internal(error.to_string())),
    }
}

pub(crate) async fn redoc() -> Response {
    let html = aide::redoc::Redoc::new("/openapi.json").with_title("Slipway").html();
    page("text/html; charset=utf-8", html.into_bytes(), REDOC)
}

fn page(kind: &str, bytes: Vec<u8>, policy: &'static str) -> Response {
    let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let policy = (HeaderName::from_static("content-security-policy"), HeaderValue::from_static(policy));
    ([(header::CONTENT_TYPE, kind), policy], bytes).into_response()
}
