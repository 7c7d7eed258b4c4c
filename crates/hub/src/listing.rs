//! Which file of a repository is meant, by asking the hub for its list.

use serde::Deserialize;

use crate::error::{FailureKind, HubError, Stop};
use crate::http::Client;
use crate::options::PullOptions;
use crate::reference::{Hub, HubId, HubPick, is_safe_repo_path};

/// Asks the hub for the repository's files and picks the one `.gguf` file that is meant.
pub(crate) fn choose_file(
    id: &HubId,
    pick: &HubPick,
    client: &Client<'_>,
    options: &PullOptions,
) -> Result<String, Stop> {
    let files = match id.hub {
        Hub::HuggingFace => list_huggingface(id, client, options)?,
        Hub::ModelScope => list_modelscope(id, client, options)?,
    };
    let ggufs: Vec<String> =
        files.into_iter().filter(|f| f.to_lowercase().ends_with(".gguf") && is_safe_repo_path(f)).collect();
    let wanted = match pick {
        HubPick::Quant(tag) => Some(tag.clone()),
        _ => None,
    };
    let fits: Vec<&String> =
        ggufs.iter().filter(|f| wanted.as_ref().is_none_or(|tag| holds_word(f, tag))).collect();
    match fits.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(HubError::NoFittingFile { id: id.canonical(), wanted, available: ggufs }.into()),
    }
}

/// Whether the name holds the tag between characters that cannot belong to it: `Q4_K` is not in `…Q4_K_M…`.
fn holds_word(name: &str, tag: &str) -> bool {
    let (name, tag) = (name.to_lowercase(), tag.to_lowercase());
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    name.match_indices(&tag).any(|(at, found)| {
        let before = name.get(..at).and_then(|s| s.chars().next_back());
        let after = name.get(at + found.len()..).and_then(|s| s.chars().next());
        !inner(before) && !inner(after)
    })
}

fn list_huggingface(id: &HubId, client: &Client<'_>, options: &PullOptions) -> Result<Vec<String>, Stop> {
    #[derive(Deserialize)]
    struct Model {
        siblings: Vec<Sibling>,
    }
    #[derive(Deserialize)]
    struct Sibling {
        rfilename: String,
    }
    let endpoint = options.hf_endpoint.trim_end_matches('/');
    let revision = id.revision.as_deref().unwrap_or("main");
    let text = client.get_text(&format!("{endpoint}/api/models/{}/revision/{revision}", id.repo), true)?;
    let model: Model = serde_json::from_str(&text).map_err(not_a_listing)?;
    Ok(model.siblings.into_iter().map(|s| s.rfilename).collect())
}

fn list_modelscope(id: &HubId, client: &Client<'_>, options: &PullOptions) -> Result<Vec<String>, Stop> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listing {
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Data {
        files: Vec<Item>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        path: String,
    }
    let endpoint = options.modelscope_endpoint.trim_end_matches('/');
    let revision = id.revision.as_deref().unwrap_or("master");
    let query = format!("Revision={revision}&Recursive=true");
    let text = client.get_text(&format!("{endpoint}/api/v1/models/{}/repo/files?{query}", id.repo), false)?;
    let listing: Listing = serde_json::from_str(&text).map_err(not_a_listing)?;
    Ok(listing.data.files.into_iter().map(|f| f.path).collect())
}

fn not_a_listing(error: serde_json::Error) -> Stop {
    Stop::Source(FailureKind::NotFound, format!("the answer is no list of files: {error}"))
}

#[cfg(test)]
mod tests {
    use super::holds_word;

    #[test]
    fn a_quantisation_is_a_whole_word() {
        assert!(holds_word("Qwen3-0.6B-Q4_K_M.gguf", "q4_k_m"));
        assert!(holds_word("SmolLM2.Q4_1.gguf", "Q4_1"));
        assert!(!holds_word("Qwen3-0.6B-Q4_K_M.gguf", "Q4_K"));
        assert!(!holds_word("Qwen3-0.6B-IQ4_XS.gguf", "Q4_XS"));
    }
}
