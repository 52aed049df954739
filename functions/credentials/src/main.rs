//! The functions of this surface on AWS; `_HANDLER` says which.

fn main() -> std::process::ExitCode {
    runtime::serve_with(credentials::surface, runtime::other_clouds)
}
