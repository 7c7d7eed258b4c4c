//! The `nurture` command. Everything it does is in [`cli`]; the engine itself is the library beside it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
