//! The words of the judgement; the judgement itself is [`nurture_eval::verdict`].
use crate::lang::Text;
use nurture_eval::VerdictKind;

/// The verdict in a word or three.
pub const fn word(kind: VerdictKind) -> Text {
    match kind {
        VerdictKind::Deeper => Text::new("Deeper", "更深"),
        VerdictKind::DeeperButNarrower => Text::new("Deeper, but narrower", "更深，但变窄"),
        VerdictKind::NotShown => Text::new("No gain shown", "未见增益"),
        VerdictKind::Worse => Text::new("Worse", "变差"),
    }
}

/// What the word means, as half a sentence.
pub const fn meaning(kind: VerdictKind) -> Text {
    match kind {
        VerdictKind::Deeper => Text::new(
            "better in its field beyond doubt, and no narrower than allowed",
            "在本领域确实更好，且没有超出允许的变窄",
        ),
        VerdictKind::DeeperButNarrower => Text::new(
            "better in its field, but general text became harder than the recipe allows",
            "在本领域更好，但通用文本变差超出了配方允许",
        ),
        VerdictKind::NotShown => Text::new(
            "the exam cannot tell base and tuned model apart, or the gain is smaller than the recipe asks for",
            "考试分不出基座与养成后的模型，或增益小于配方要求",
        ),
        VerdictKind::Worse => Text::new("worse in its field beyond doubt", "在本领域确实变差"),
    }
}
