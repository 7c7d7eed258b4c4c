//! Pulls what the first argument names and shows the steps: `cargo run -p nurture-hub --example pull NAME`.

use nurture_hub::{Progress, PullOptions, Store, default_root, pull};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = |key: &str| std::env::var(key).ok();
    let name = std::env::args().nth(1).ok_or("give a catalogue name, a hub id or a path")?;
    let store = Store::new(default_root(env).ok_or("set NURTURE_HOME or HOME")?);
    let mut last = None;
    let pulled = pull(&name, &store, &PullOptions::from_env(env), &mut |step| match step {
        Progress::Bytes { done, total } => {
            let tenth = total.map(|t| done * 10 / t.max(1));
            if tenth != last {
                last = tenth;
                println!("{done} of {total:?} bytes");
            }
        }
        Progress::Hashing { .. } => {}
        Progress::Licence { entry } => {
            println!("licence: {} {}", entry.licence, entry.notice.as_ref().map_or("", |n| &n.en));
        }
        other => println!("{other:?}"),
    });
    match pulled {
        Ok(p) => {
            println!("{}\nsha256 {}\nfrom {} (already: {})", p.path.display(), p.sha256, p.source, p.already)
        }
        Err(e) => return Err(e.to_string().into()),
    }
    Ok(())
}
