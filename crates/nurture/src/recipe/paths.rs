//! Paths of a recipe, made absolute by their text alone: what exists on disk is not asked.
use std::path::{Component, Path, PathBuf};

/// Joins and tidies: `data/../a.csv` in `/r` is `/r/a.csv`. An absolute path stays.
pub(crate) fn absolute(folder: &Path, path: &str) -> String {
    let mut tidy = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            // Symbolic links could make `a/..` differ from nothing, but a recipe is read before its files are.
            Component::ParentDir if matches!(tidy.components().next_back(), Some(Component::Normal(_))) => {
                tidy.pop();
            }
            Component::ParentDir if tidy.has_root() => {}
            part => tidy.push(part),
        }
    }
    tidy.to_string_lossy().into_owned()
}

/// Whether the text can be the name of a folder on any system.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.len() <= 120
        && !name.starts_with('.')
        && !name.contains(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied() {
        let check = |path, want| assert_eq!(absolute(Path::new("/recipes/en"), path), want);
        check("data/a.csv", "/recipes/en/data/a.csv");
        check("./a.csv", "/recipes/en/a.csv");
        check("../data/a.csv", "/recipes/data/a.csv");
        check("../../../../a.csv", "/a.csv");
        check("/a.csv", "/a.csv");
        check("数据/甲.csv", "/recipes/en/数据/甲.csv");
        assert_eq!(absolute(Path::new("recipes"), "../../a"), "../a");
    }

    #[test]
    fn file_names() {
        for good in ["run-1", "服务台", "a.b"] {
            assert!(is_file_name(good), "{good}");
        }
        for bad in ["", " ", "..", ".hidden", "a/b", "a\\b", "a\nb", "c:"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
