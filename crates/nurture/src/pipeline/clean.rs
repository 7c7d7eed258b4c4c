//! Cleaning as the recipe wants it, and what the reader must know of what it found.

use crate::lang::Said;
use crate::recipe::{self, Recipe};
use crate::said;
use nurture_data::{CleanOptions, CleanReport, Language, NearPolicy, Sensitive, SensitivePolicy};

/// The recipe's `data.clean`.
pub(super) fn options(r: &Recipe) -> CleanOptions {
    let c = &r.data.clean;
    CleanOptions {
        tidy: c.tidy,
        boilerplate: c.boilerplate,
        languages: c
            .languages
            .iter()
            .map(|l| match l {
                recipe::Language::Zh => Language::Zh,
                recipe::Language::En => Language::En,
                recipe::Language::Other => Language::Other,
            })
            .collect(),
        near: match c.near_duplicates {
            recipe::NearDuplicates::Off => NearPolicy::Off,
            recipe::NearDuplicates::Report => NearPolicy::Report,
            recipe::NearDuplicates::Drop => NearPolicy::Drop,
        },
        similarity: c.similarity,
        personal: policy(c.personal),
        personal_kinds: c.personal_kinds.iter().map(|k| kind(*k)).collect(),
        secrets: policy(c.secrets),
        seed: r.train.seed,
    }
}

/// Kinds of values that stand in the recipe's training rows as placeholders.
pub(super) fn redacted(r: &Recipe) -> Vec<Sensitive> {
    let c = &r.data.clean;
    let kinds = if c.personal == recipe::Sensitive::Redact { &c.personal_kinds[..] } else { &[] };
    let secrets = (c.secrets == recipe::Sensitive::Redact).then_some(Sensitive::Secret);
    kinds.iter().map(|k| kind(*k)).chain(secrets).collect()
}

fn policy(p: recipe::Sensitive) -> SensitivePolicy {
    match p {
        recipe::Sensitive::Off => SensitivePolicy::Off,
        recipe::Sensitive::Report => SensitivePolicy::Report,
        recipe::Sensitive::Redact => SensitivePolicy::Redact,
        recipe::Sensitive::Drop => SensitivePolicy::Drop,
    }
}

fn kind(k: recipe::PersonalKind) -> Sensitive {
    match k {
        recipe::PersonalKind::IdCard => Sensitive::IdCard,
        recipe::PersonalKind::CreditCode => Sensitive::CreditCode,
        recipe::PersonalKind::BankCard => Sensitive::BankCard,
        recipe::PersonalKind::Phone => Sensitive::Phone,
        recipe::PersonalKind::Email => Sensitive::Email,
        recipe::PersonalKind::Plate => Sensitive::Plate,
    }
}

/// What stays in the training data and perhaps should not.
pub(super) fn warnings(r: &Recipe, report: &CleanReport) -> Vec<Said> {
    let c = &r.data.clean;
    let mut out = Vec::new();
    let rows = |kind: &Sensitive| report.sensitive.get(kind).map_or(0, |f| f.rows);
    let secrets = rows(&Sensitive::Secret);
    if secrets > 0 && c.secrets == recipe::Sensitive::Report {
        out.push(said!(
            "{secrets} training rows hold a key, token or password, which the model may learn by heart: data.clean.secrets = \"redact\" or \"drop\" takes them out",
            "{secrets} 行训练数据含有密钥、令牌或口令，模型可能背下来：设 data.clean.secrets = \"redact\" 或 \"drop\" 可去掉"
        ));
    }
    let found: Vec<_> = Sensitive::PERSONAL.iter().filter(|k| rows(k) > 0).collect();
    if !found.is_empty() && c.personal == recipe::Sensitive::Report {
        let list = |name: fn(Sensitive) -> Said, en: bool| {
            let one = |k: &&Sensitive| {
                let name = name(**k);
                format!("{} {}", if en { name.en } else { name.zh }, rows(k))
            };
            found.iter().map(one).collect::<Vec<_>>().join(if en { ", " } else { "、" })
        };
        let (en, zh) = (list(name, true), list(name, false));
        out.push(Said::new(
            format!(
                "personal data in training rows ({en}): the model may learn it by heart; data.clean.personal = \"redact\" or \"drop\" takes it out"
            ),
            format!(
                "训练数据的行里有个人信息（{zh}）：模型可能背下来；设 data.clean.personal = \"redact\" 或 \"drop\" 可去掉"
            ),
        ));
    }
    let near = report.near_duplicates;
    if near > 0 && c.near_duplicates == recipe::NearDuplicates::Report {
        out.push(said!(
            "{near} training rows nearly repeat an earlier one: data.clean.near_duplicates = \"drop\" leaves them out",
            "{near} 行训练数据与之前的行几乎相同：设 data.clean.near_duplicates = \"drop\" 可舍弃"
        ));
    }
    out
}

/// What a kind of value is called.
pub fn name(kind: Sensitive) -> Said {
    match kind {
        Sensitive::Secret => said!("keys and passwords", "密钥与口令"),
        Sensitive::IdCard => said!("identity cards", "居民身份证号"),
        Sensitive::CreditCode => said!("credit codes", "统一社会信用代码"),
        Sensitive::BankCard => said!("bank cards", "银行卡号"),
        Sensitive::Phone => said!("telephone numbers", "电话号码"),
        Sensitive::Email => said!("e-mail addresses", "电子邮箱"),
        Sensitive::Plate => said!("licence plates", "车牌号"),
    }
}
