//! The known word that a misspelt one probably meant.

/// Names of other tools' settings, and the key that stands for them here.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("lr", "train.rate"),
    ("learning_rate", "train.rate"),
    ("num_epochs", "train.epochs"),
    ("num_train_epochs", "train.epochs"),
    ("batch_size", "train.batch"),
    ("per_device_train_batch_size", "train.batch"),
    ("micro_batch_size", "train.micro_tokens"),
    ("gradient_accumulation_steps", "train.micro_tokens"),
    ("max_length", "train.max_len"),
    ("max_seq_length", "train.max_len"),
    ("seq_len", "train.max_len"),
    ("warmup_ratio", "train.warmup"),
    ("lr_scheduler_type", "train.schedule"),
    ("scheduler", "train.schedule"),
    ("max_grad_norm", "train.clip"),
    ("optimizer", "train.optimiser"),
    ("optim", "train.optimiser"),
    ("gradient_checkpointing", "train.recompute"),
    ("frozen", "train.freeze"),
    ("simpo_gamma", "train.preference.gamma"),
    ("pref_beta", "train.preference.beta"),
    ("pref_loss", "train.preference.loss"),
    ("loss_type", "train.preference.loss"),
    ("rpo_alpha", "train.preference.sft"),
    ("pref_ftx", "train.preference.sft"),
    ("center_rewards_coefficient", "train.preference.center"),
    ("desirable_weight", "train.preference.desirable"),
    ("undesirable_weight", "train.preference.undesirable"),
    ("label_smoothing_factor", "train.label_smoothing"),
    ("neftune_noise_alpha", "train.neftune"),
    ("ema_decay", "train.ema"),
    ("init_lora_weights", "train.adapter.init"),
    ("use_dora", "train.adapter.dora"),
    ("trainable_token_indices", "train.adapter.tokens"),
    ("new_special_tokens", "train.adapter.tokens"),
    ("loraplus_lr_ratio", "train.adapter.b_ratio"),
    ("save_steps", "train.checkpoint_every"),
    ("lora", "train.adapter"),
    ("r", "train.adapter.rank"),
    ("lora_rank", "train.adapter.rank"),
    ("lora_r", "train.adapter.rank"),
    ("lora_alpha", "train.adapter.alpha"),
    ("use_rslora", "train.adapter.rslora"),
    ("target_modules", "train.adapter.targets"),
    ("name_or_path", "model.base"),
    ("model_name_or_path", "model.base"),
    ("base_model", "model.base"),
    ("chat_template", "model.template"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("train_file", "data.train"),
    ("system_prompt", "data.system"),
    ("prompt", "data.user"),
    ("output_dir", "run.dir"),
];

/// The candidate with the fewest edits, if they are few for the word's length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, delete, replace, or swap of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // A hostile file may hold a key of megabytes; such a word is near to nothing.
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let check = |a, b, want| assert_eq!(distance(a, b), want, "{a} {b}");
        check("epochs", "epochs", 0);
        check("epoch", "epochs", 1);
        check("ranK", "rank", 1);
        check("rtae", "rate", 1);
        check("", "abc", 3);
        check("学习率", "学习", 1);
    }

    #[test]
    fn far_words_have_no_nearest() {
        let keys = ["rate", "batch", "epochs"];
        assert_eq!(nearest("epoch", keys), Some("epochs"));
        assert_eq!(nearest("Batch", keys), Some("batch"));
        assert_eq!(nearest("temperature", keys), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), keys), None);
    }
}
