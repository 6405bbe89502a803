//! The `bemi` command.

fn main() -> std::process::ExitCode {
    bemi_diesel::cli::main()
}
