//! The functions of this surface on AWS; `_HANDLER` says which.

fn main() -> std::process::ExitCode {
    runtime::serve_with(inference::surface, runtime::model_servers)
}
