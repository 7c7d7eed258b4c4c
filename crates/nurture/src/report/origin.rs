//! Where everything came from, and how to do it again.
use super::data::ReportData;
use super::fmt;
use super::page::{Block, Cell, Table};
use crate::lang::Lang;
use crate::say;

pub(crate) fn model(lang: Lang, data: &ReportData) -> Vec<Block> {
    let (base, adapter, machine) = (&data.base, &data.adapter, &data.machine);
    let text = |text: String| Cell::Text(text);
    let scale = if adapter.rslora { lang.pick(", rank-stabilised", "，秩稳定") } else { "" };
    let (rank, alpha, kind) = (
        adapter.rank,
        fmt::short(adapter.alpha),
        if adapter.kind == "lora" { "LoRA" } else { &adapter.kind },
    );
    let share = fmt::percent(lang, adapter.params as f64 / base.params as f64);
    let params = fmt::many(lang, adapter.params);
    let facts = vec![
        (lang.pick("Base", "基座"), text(base.name.clone())),
        (lang.pick("Parameters", "参数"), text(fmt::many(lang, base.params))),
        (lang.pick("Element types", "元素类型"), text(base.dtypes.clone())),
        (lang.pick("Chat template", "对话模板"), text(base.template.clone())),
        (lang.pick("Licence", "许可证"), text(base.licence.clone())),
        (lang.pick("Base file", "基座文件"), Cell::Mono(base.file.clone())),
        ("SHA-256", Cell::Mono(base.sha256.clone())),
        (
            lang.pick("Method", "方法"),
            text(match adapter.is_full() {
                true => lang.pick("full training in float32", "全参数训练，float32").to_string(),
                false => String::new(),
            }),
        ),
        (
            lang.pick("Adapter", "适配器"),
            text(match adapter.is_full() {
                true => String::new(),
                false => format!("{kind}, rank {rank}, alpha {alpha}{scale}"),
            }),
        ),
        (
            match adapter.is_full() {
                true => lang.pick("Frozen", "冻结"),
                false => lang.pick("On", "加在"),
            },
            text(adapter.targets.join(", ")),
        ),
        (
            lang.pick("Trained parameters", "训练的参数"),
            text(say!(lang, "{params} ({share} of the base)", "{params}（基座的 {share}）")),
        ),
        (
            match adapter.is_full() {
                true => lang.pick("Trained weights", "训练后的权重"),
                false => lang.pick("Adapter file", "适配器文件"),
            },
            Cell::Mono(adapter.path.clone()),
        ),
        ("SHA-256", Cell::Mono(adapter.sha256.clone())),
        (
            lang.pick("Machine", "机器"),
            text(say!(
                lang,
                "{}, {} threads, {}",
                "{}，{} 个线程，{}",
                machine.cpu,
                machine.threads,
                machine.isa
            )),
        ),
        (lang.pick("Program", "程序"), text(format!("Nurture {}", data.version))),
    ];
    let facts = facts.into_iter().filter(|(_, cell)| !cell.text().is_empty());
    vec![
        Block::Section("model", lang.pick("Model and machine", "模型与机器").into()),
        Block::Facts(facts.map(|(name, cell)| (name.to_string(), cell)).collect()),
    ]
}

pub(crate) fn repeat(lang: Lang, data: &ReportData) -> Vec<Block> {
    let mut blocks = vec![Block::Section("repeat", lang.pick("Do it again", "重做一遍").into())];
    blocks.push(Block::Para(
        lang.pick(
            "The same recipe, seed and kind of machine give the same weights, byte for byte, on any number of threads.",
            "同样的配方、种子和机器种类，无论用多少线程，得到的权重逐字节相同。",
        )
        .into(),
    ));
    for command in &data.commands {
        blocks.push(Block::Note(command.does.get(lang).into()));
        blocks.push(Block::Code("sh", command.text.clone()));
    }
    if !data.inputs.is_empty() {
        let head = vec![
            (lang.pick("input", "输入").into(), false),
            (lang.pick("size", "大小").into(), true),
            ("SHA-256".into(), false),
        ];
        let row = |input: &crate::recipe::InputHash| {
            vec![
                Cell::Mono(input.path.clone()),
                Cell::Text(fmt::bytes(input.bytes as f64)),
                Cell::Mono(input.sha256.clone()),
            ]
        };
        blocks.push(Block::Table(Table { head, rows: data.inputs.iter().map(row).collect() }));
    }
    if !data.recipe.is_empty() {
        let mut recipe = vec![Block::Code("toml", data.recipe.clone())];
        for set in &data.overrides {
            recipe.push(Block::Code("sh", format!("--set {}={}", set.key, set.value)));
        }
        blocks.push(Block::Fold(lang.pick("The recipe", "配方").into(), recipe));
    }
    blocks
}
