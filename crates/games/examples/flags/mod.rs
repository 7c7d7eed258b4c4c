//! Flags of the examples: `--name NUMBER`.

/// The words of the command line.
pub(crate) struct Flags(Vec<String>);

impl Flags {
    /// Those of this process.
    pub(crate) fn of_process() -> Flags {
        Flags(std::env::args().skip(1).collect())
    }

    /// The first word, if it is no flag.
    #[allow(dead_code)] // not every example takes one
    pub(crate) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str).filter(|word| !word.starts_with("--"))
    }

    /// The number behind `name`. Ends the process where there is none.
    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        let Some(at) = self.0.iter().position(|a| a == name) else { return default };
        let value = self.0.get(at + 1).map_or("", String::as_str);
        value.parse().unwrap_or_else(|_| {
            eprintln!("{name} {value}: a number is expected");
            std::process::exit(2);
        })
    }
}
