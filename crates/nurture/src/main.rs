//! The `nurture` command.
fn main() {}
