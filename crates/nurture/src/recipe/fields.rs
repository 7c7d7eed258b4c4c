//! The recipe itself: every table, key and word with its documentation in both languages, once.
//!
//! Structs, parsing, checks, help, the documentation page and the JSON schema all come from here.
use std::path::PathBuf;

use super::table::{Absent, Kind, choices, section};
use crate::lang::Text;

const COUNT: Kind = Kind::Integer { min: 1, max: 1_000_000_000 };
const SHARE: Kind = Kind::Number { min: 0.0, max: 1.0, positive: false };
const COLUMN: Absent = Absent::Means(Text::new("found by looking at the file", "看文件内容自动判断"));
const SIZE: Absent = Absent::Means(Text::new("derived from `depth` and the text", "由 `depth` 和文本推出"));
const DIAL: Absent = Absent::Means(Text::new("derived from `effort` and the data", "由 `effort` 和数据推出"));

section! { Recipe ["What to raise, from what, how, and how to examine it.", "养什么、用什么养、怎么养、怎么考。"] {
    run: Run = Run::default(), Kind::Table(&Run::SECTION), Absent::Default, "{ name = \"my-run\" }",
        ["The run and where its files go.", "这次运行，以及文件放在哪里。"];
    model: Model = Model::default(), Kind::Table(&Model::SECTION), Absent::Required,
        "{ base = \"smollm2-135m-instruct\" }",
        ["The base model: one that is there, or a new one.", "基座模型：现成的，或新生的。"];
    data: Data = Data::default(), Kind::Table(&Data::SECTION), Absent::Required,
        "{ train = [{ path = \"data/train.jsonl\" }] }",
        ["The textbooks: what the model learns from.", "教材：模型从什么学。"];
    train: Train = Train::default(), Kind::Table(&Train::SECTION), Absent::Default,
        "{ adapter = { kind = \"lora\" } }",
        ["How to teach.", "怎么教。"];
    eval: Eval = Eval::default(), Kind::Table(&Eval::SECTION), Absent::Default,
        "{ breadth = [\"general-mini\"] }",
        ["How to examine: depth in the own field against breadth kept.", "怎么考：本领域的深度，与保住的广度。"];
    export: Export = Export::default(), Kind::Table(&Export::SECTION), Absent::Default, "{ formats = [\"peft\"] }",
        ["What is written for other tools.", "为其他工具写出什么。"];
} }

section! { Run ["The run and where its files go.", "这次运行，以及文件放在哪里。"] {
    name: Option<String> = None, Kind::Name,
        Absent::Means(Text::new("the recipe's file name", "配方的文件名")), "\"my-run\"",
        ["Name of the run; its folder is `<dir>/<name>`.", "运行的名字；文件夹是 `<dir>/<name>`。"];
    dir: PathBuf = PathBuf::from("runs"), Kind::OutputPath, Absent::Default, "\"runs\"",
        ["Folder that holds the runs. A relative one starts at the current folder, not at the recipe.",
         "存放各次运行的文件夹。相对路径从当前目录算起，而不是从配方所在目录。"];
} }

section! { Model ["The base model: one that is there, or a new one.", "基座模型：现成的，或新生的。"] {
    base: Option<String> = None, Kind::NameOrPath,
        Absent::Means(Text::new("a newborn, by `new`", "由 `new` 新生")), "\"smollm2-135m-instruct\"",
        ["A name in the catalogue, a hub id (`owner/name`), or a path to a GGUF file.",
         "目录里的名字、模型库编号（`owner/name`），或 GGUF 文件的路径。"];
    new: Option<Newborn> = None, Kind::Table(&Newborn::SECTION),
        Absent::Means(Text::new("the model of `base`", "用 `base` 的模型")), "{ depth = 4, text = [\"data/text.txt\"] }",
        ["Instead of `base`: a model from birth. Its vocabulary and its language are learnt from plain text; then it is the base of this recipe. It is kept in the store, and a recipe that asks for the same again finds it there.",
         "代替 `base`：从出生养起。词表和语言都从纯文本学来，然后就是本配方的基座。它存放在仓库里，同样的要求不会重做。"];
    template: Option<String> = None, Kind::NameOrPath,
        Absent::Means(Text::new("the model's own chat template; of a newborn `chatml`", "模型自带的对话模板；新生模型用 `chatml`")), "\"plain\"",
        ["Chat template: the name of one that ships with the project (`plain`, `chatml`), or a path to a Jinja file. A base model without a template of its own needs one.",
         "对话模板：项目自带模板的名字（`plain`、`chatml`），或 Jinja 文件的路径。自身没有模板的基座模型必须给出。"];
} }

section! { Newborn ["A model from birth: a network of the Llama form with random weights, a vocabulary of its own, and a language learnt from plain text. `train.effort` and `train.seed` count here too.",
    "从出生养起的模型：Llama 形式、随机权重的网络，自己的词表，从纯文本学来的语言。`train.effort` 和 `train.seed` 在此同样有效。"] {
    text: Vec<PathBuf> = Vec::new(), Kind::List(&Kind::Path), Absent::Required, "[\"data/text.txt\"]",
        ["Plain text to learn a language from: txt or md files, each one document (or several, parted by lines of `=====`), or jsonl with a key `text`. Every twentieth part is held out to measure by. A relative path starts at the recipe's folder.",
         "用来学语言的纯文本：txt 或 md 文件，每个是一篇文档（或用 `=====` 行分成几篇），或带 `text` 键的 jsonl。每二十段留出一段用于测量。相对路径从配方所在目录算起。"];
    depth: usize = 4, Kind::Integer { min: 1, max: 128 }, Absent::Default, "6",
        ["The one dial of its size: number of blocks. Every value left out below is derived from it and the text, and printed with its reason.",
         "大小的唯一旋钮：层数。下面没写的值都由它和文本推出，并打印理由。"];
    vocab: Option<usize> = None, Kind::Integer { min: 512, max: 131_072 }, SIZE, "4096",
        ["Tokens of the vocabulary: byte-level BPE.", "词表的词元数：字节级 BPE。"];
    width: Option<usize> = None, Kind::Integer { min: 16, max: 16_384 }, SIZE, "256",
        ["Width of the residual stream.", "残差流的宽度。"];
    heads: Option<usize> = None, Kind::Integer { min: 1, max: 1024 }, SIZE, "4",
        ["Heads of attention; their width must be even.", "注意力的头数；每头的宽度须为偶数。"];
    kv_heads: Option<usize> = None, Kind::Integer { min: 1, max: 1024 }, SIZE, "2",
        ["Heads of keys and values, shared by groups of heads.", "键和值的头数，由几个头共用。"];
    ffn: Option<usize> = None, Kind::Integer { min: 16, max: 65_536 }, SIZE, "704",
        ["Width of the gated feed-forward part.", "带门前馈部分的宽度。"];
    context: Option<usize> = None, Kind::Integer { min: 32, max: 131_072 }, SIZE, "512",
        ["Longest sequence in tokens.", "序列最长多少词元。"];
    tokens: Option<usize> = None, Kind::Integer { min: 1, max: 1_000_000_000_000 }, SIZE, "2000000",
        ["Tokens of text to learn from, repeated passes counted.", "学习文本的词元数，重复的遍数也计入。"];
    batch_tokens: Option<usize> = None, Kind::Integer { min: 32, max: 16_777_216 }, SIZE, "8192",
        ["Tokens of an optimiser step, about.", "每个优化步的词元数，约数。"];
    rate: Option<f64> = None, Kind::Number { min: 0.0, max: 1.0, positive: true }, SIZE, "2e-3",
        ["Peak learning rate, of Muon for the projections and of AdamW for all else.", "峰值学习率：投影用 Muon，其余用 AdamW。"];
} }

section! { Data ["The textbooks: what the model learns from.", "教材：模型从什么学。"] {
    train: Vec<Source> = Vec::new(), Kind::List(&Kind::Table(&Source::SECTION)), Absent::Required,
        "[{ path = \"data/train.jsonl\" }]",
        ["The training files. A bare path stands for `{ path = … }`.", "训练文件。单写路径等于 `{ path = … }`。"];
    labels: Labels = Labels::AsIs, Kind::Choice(Labels::CHOICES), Absent::Default, "\"words\"",
        ["How a label of a classification set becomes the answer the model writes.",
         "分类数据的标签怎样变成模型要写的答案。"];
    system: Option<String> = None, Kind::Text,
        Absent::Means(Text::new("no system turn is added", "不添加系统消息")), "\"You are a careful service desk.\"",
        ["System prompt put before each example that has none of its own; `{labels}` stands for the list of labels. Exams use it too.",
         "系统提示词，放在没有自带系统消息的样本之前；`{labels}` 代表标签列表。考试时同样使用。"];
    user: Option<String> = None, Kind::Text,
        Absent::Means(Text::new("the question alone", "只有问题本身")), "\"Question: {question}\"",
        ["Template of the user turn; `{name}` stands for that column or key of the row, `{{` and `}}` for braces. Exams use it too.",
         "用户消息的模板；`{name}` 代表该行名为 name 的列或键，`{{` 和 `}}` 代表花括号。考试时同样使用。"];
    over_long: OverLong = OverLong::Error, Kind::Choice(OverLong::CHOICES), Absent::Default, "\"drop\"",
        ["What to do with an example of more than `train.max_len` tokens.",
         "样本超过 `train.max_len` 个词元时怎么办。"];
    on_bad_row: OnBadRow = OnBadRow::Error, Kind::Choice(OnBadRow::CHOICES), Absent::Default, "\"drop\"",
        ["What to do with a row that cannot be read or has no answer.", "读不懂或没有答案的行怎么办。"];
    hold_out: Option<HoldOut> = None, Kind::Table(&HoldOut::SECTION),
        Absent::Means(Text::new("nothing is held out", "不留出")), "{ share = 0.1 }",
        ["Rows kept back from training; they become an exam of the recipe, and what they belong to is not trained on.",
         "从训练中留出的行：成为本配方的一场考试，与它们同属一处的行也不参与训练。"];
    clean: Clean = Clean::default(), Kind::Table(&Clean::SECTION), Absent::Default, "{ near_duplicates = \"drop\" }",
        ["Cleaning of the training rows. Each part can be switched on and off, and the ledger counts what it does.",
         "训练数据的清洗。每一部分都可单独开关，账本记下它做了什么。"];
} }

section! { HoldOut ["Rows kept back from training, as an exam.", "从训练中留出、用作考试的行。"] {
    share: f64 = 0.1, SHARE, Absent::Default, "0.1",
        ["About this share of the rows. Which ones depends on their content and `train.seed` alone: rows added later do not move the others.",
         "约这个比例的行。选哪些只取决于内容和 `train.seed`：以后增加的行不会移动其他行。"];
    count: Option<usize> = None, COUNT, Absent::Means(Text::new("by `share`", "按 `share`")), "200",
        ["At least this many rows, in place of `share`.", "至少这么多行，代替 `share`。"];
    by: HoldOutBy = HoldOutBy::Group, Kind::Choice(HoldOutBy::CHOICES), Absent::Default, "\"document\"",
        ["What is never parted between training and exam.", "训练与考试之间不会拆开的单位。"];
    name: String = "held-out".into(), Kind::Name, Absent::Default, "\"held-out\"",
        ["Name of the exam in the report.", "考试在报告里的名字。"];
    items: Option<usize> = None, COUNT, DIAL, "400",
        ["How many of them to draw; all are kept back.", "从中抽多少题；全部都留出。"];
    score: Score = Score::Exact, Kind::Choice(Score::CHOICES), Absent::Default, "\"token_f1\"",
        ["How a free answer is compared with the right one.", "自由作答怎样与正确答案比较。"];
    max_tokens: usize = 64, Kind::Integer { min: 1, max: 65_536 }, Absent::Default, "128",
        ["Longest free answer in tokens.", "自由作答最长多少词元。"];
} }

section! { Clean ["Cleaning of the training rows.", "训练数据的清洗。"] {
    tidy: bool = true, Kind::Bool, Absent::Default, "false",
        ["Even out Unicode and white space: composed characters (NFC), one kind of line end and of space, no invisible characters, no spaces at line ends, at most one empty line in a row. Exams are evened out too.",
         "统一 Unicode 和空白：组合字符（NFC）、一种换行、一种空格，去掉不可见字符和行尾空格，空行最多连续一个。考题同样处理。"];
    boilerplate: f64 = 0.0, SHARE, Absent::Default, "0.3",
        ["Take out lines that stand in at least this share of the documents (and in three or more): headers, footers, notices. Digits count as one digit, so page numbers are found. 0: none.",
         "去掉至少在这个比例（且不少于三篇）的文档里出现的行：页眉、页脚、声明。数字视为相同，因此页码也能找到。0 表示不做。"];
    languages: Vec<Language> = Vec::new(), Kind::List(&Kind::Choice(Language::CHOICES)), Absent::Default, "[\"zh\", \"en\"]",
        ["Keep rows that are mostly in one of these languages. None: all rows. Rows without letters stay.",
         "只保留主要使用这些语言的行。不写则全部保留。没有文字的行保留。"];
    near_duplicates: NearDuplicates = NearDuplicates::Report, Kind::Choice(NearDuplicates::CHOICES), Absent::Default, "\"drop\"",
        ["What to do with rows that nearly repeat an earlier one. Rows with different labels or options never count.",
         "与前面某行几乎相同的行怎么办。标签或选项不同的行不算。"];
    similarity: f64 = 0.8, Kind::Number { min: 0.5, max: 1.0, positive: false }, Absent::Default, "0.7",
        ["From which similarity rows are near duplicates: shared windows of five words (Chinese: characters) over all windows.",
         "相似到什么程度算几乎相同：共有的五词（中文为五字）片段占全部片段的比例。"];
    personal: Sensitive = Sensitive::Report, Kind::Choice(Sensitive::CHOICES), Absent::Default, "\"redact\"",
        ["What to do with personal data that has a form: see `personal_kinds`. Names and addresses are not found.",
         "有固定形式的个人信息怎么办：见 `personal_kinds`。姓名和住址找不出来。"];
    personal_kinds: Vec<PersonalKind> = PersonalKind::ALL.to_vec(), Kind::List(&Kind::Choice(PersonalKind::CHOICES)), Absent::Default, "[\"phone\", \"email\"]",
        ["What counts as personal data.", "哪些算个人信息。"];
    secrets: Sensitive = Sensitive::Report, Kind::Choice(Sensitive::CHOICES), Absent::Default, "\"drop\"",
        ["What to do with keys, tokens and passwords: those of known form, private keys, and values that a word such as `password` announces.",
         "密钥、令牌和口令怎么办：形式已知的、私钥，以及“密码”之类的词后面的值。"];
} }

section! { Source ["One training file.", "一个训练文件。"] {
    path: PathBuf = PathBuf::new(), Kind::Path, Absent::Required, "\"data/train.jsonl\"",
        ["The file (jsonl, json, csv, tsv). A relative path starts at the recipe's folder.",
         "文件（jsonl、json、csv、tsv）。相对路径从配方所在目录算起。"];
    kind: Option<SourceKind> = None, Kind::Choice(SourceKind::CHOICES), COLUMN, "\"label\"",
        ["What a row is.", "一行是什么。"];
    user: Option<String> = None, Kind::Text, COLUMN, "\"question\"",
        ["Column or key that holds what the model reads: the question, the text, or the list of turns.",
         "存放模型所读内容的列名或键名：问题、文本，或对话轮次的列表。"];
    answer: Option<String> = None, Kind::Text, COLUMN, "\"category\"",
        ["Column or key that holds the answer or label.", "存放答案或标签的列名或键名。"];
    options: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"A\", \"B\", \"C\", \"D\"]",
        ["Columns or keys that hold the options of a choice: one that holds a list, or one for each. None: found by looking.",
         "存放选择题选项的列名或键名：一个装列表的，或每个选项一个。不写则自动判断。"];
    context: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"passage\"]",
        ["Columns or keys with material that stands before the question.", "放在问题之前的材料的列名或键名。"];
    system: Option<String> = None, Kind::Text, COLUMN, "\"system\"",
        ["Column or key that holds a row's own system prompt.", "存放该行自带系统提示词的列名或键名。"];
    group: Option<String> = None, Kind::Text, Absent::Means(Text::new("no groups", "不分组")), "\"document\"",
        ["Column or key whose value keeps rows together in `data.hold_out`. It needs `kind` beside it.",
         "存放分组的列名或键名：`data.hold_out` 不会拆开取值相同的行。须同时写明 `kind`。"];
    encoding: Option<Encoding> = None, Kind::Choice(Encoding::CHOICES), COLUMN, "\"gb18030\"",
        ["Character encoding of the file.", "文件的字符编码。"];
} }

section! { Train ["How to teach.", "怎么教。"] {
    method: Method = Method::Sft, Kind::Choice(Method::CHOICES), Absent::Default, "\"sft\"",
        ["The method of upbringing.", "教养的方法。"];
    adapter: Option<Adapter> = None, Kind::Table(&Adapter::SECTION),
        Absent::Means(Text::new("full training: the network's own weights, in float32", "全参数训练：网络自身的权重，float32")),
        "{ kind = \"lora\", rank = 16 }",
        ["The small set of weights that is trained beside the frozen base. Full training takes several times the memory and changes more; its result is a model folder.",
         "在冻结的基座旁训练的一小组权重。全参数训练要几倍的内存，改动也更大；结果是一个模型文件夹。"];
    freeze: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"embed\", \"layers.0-5\"]",
        ["Full training: parts that stay as they are: `embed`, `head`, `norm` (the last one), `layers.3`, `layers.0-5`. The backward pass ends at the lowest part that trains.",
         "全参数训练：保持不变的部分：`embed`、`head`、`norm`（最后的归一化）、`layers.3`、`layers.0-5`。反向传播到最低的可训练部分为止。"];
    optimiser: Optimiser = Optimiser::AdamW, Kind::Choice(Optimiser::CHOICES), Absent::Default, "\"adamw\"",
        ["How gradients become steps.", "梯度怎样变成更新。"];
    recompute: bool = false, Kind::Bool, Absent::Default, "true",
        ["Keep only the input of each layer and compute the layer again on the way back: less memory, about a third more work, the same result to the last bit.",
         "只保留每层的输入，反向时重算该层：省内存，多约三分之一的计算，结果逐位相同。"];
    effort: Effort = Effort::Normal, Kind::Choice(Effort::CHOICES), Absent::Default, "\"quick\"",
        ["The one dial. Every value left out below is derived from it and the data, and printed with its reason.",
         "唯一的旋钮。下面没写的值都由它和数据推出，并打印理由。"];
    epochs: Option<f64> = None, Kind::Number { min: 0.0, max: 1000.0, positive: true }, DIAL, "1.5",
        ["Passes over the training data; may be a fraction.", "训练数据过几遍；可以是小数。"];
    rate: Option<f64> = None, Kind::Number { min: 0.0, max: 1.0, positive: true }, DIAL, "1e-3",
        ["Peak learning rate of AdamW.", "AdamW 的峰值学习率。"];
    batch: Option<usize> = None, Kind::Integer { min: 1, max: 65_536 }, DIAL, "16",
        ["Examples per optimiser step.", "每个优化步的样本数。"];
    micro_tokens: Option<usize> = None, Kind::Integer { min: 16, max: 1_048_576 }, DIAL, "2048",
        ["Tokens worked on at once. It decides the memory, not the result: gradients add up to the whole batch.",
         "一次处理多少词元。它决定内存，不改变结果：梯度会累加成整批。"];
    max_len: Option<usize> = None, Kind::Integer { min: 8, max: 1_048_576 }, DIAL, "2048",
        ["Longest example in tokens; longer ones follow `data.over_long`.",
         "样本最长多少词元；更长的按 `data.over_long` 处理。"];
    warmup: Option<f64> = None, SHARE, DIAL, "0.05",
        ["Share of the steps over which the learning rate rises from zero.", "学习率从零升起所占的步数比例。"];
    schedule: Option<Schedule> = None, Kind::Choice(Schedule::CHOICES), DIAL, "\"cosine\"",
        ["How the learning rate falls after the warm-up.", "预热之后学习率怎样下降。"];
    clip: Option<f64> = None, Kind::Number { min: 0.0, max: 1e6, positive: true }, DIAL, "1.0",
        ["Largest norm of the whole gradient; a longer one is scaled down to it.",
         "整个梯度的最大范数；更长的会缩到这个长度。"];
    weight_decay: Option<f64> = None, SHARE, DIAL, "0.01",
        ["Decoupled weight decay of AdamW.", "AdamW 的解耦权重衰减。"];
    keep: Keep = Keep::default(), Kind::Table(&Keep::SECTION), Absent::Default, "{ strength = 2.0 }",
        ["Breadth that is kept while depth is learnt.", "学深的同时保住的广度。"];
    label_smoothing: f64 = 0.0, Kind::Number { min: 0.0, max: 0.9, positive: false }, Absent::Default, "0.1",
        ["Share of each target that is spread evenly over the vocabulary, against overconfidence. The reported loss has it in it.",
         "每个目标均匀分给整个词表的份额，防止过分自信。报告的损失包含它。"];
    z_loss: f64 = 0.0, Kind::Number { min: 0.0, max: 1.0, positive: false }, Absent::Default, "1e-4",
        ["Factor on the squared logarithm of the sum of the logits' exponentials: keeps logits from drifting in long full training.",
         "logits 指数和的对数的平方的系数：长时间全参数训练时防止 logits 漂移。"];
    neftune: f64 = 0.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "5.0",
        ["Noise on the embedded tokens in training, NEFTune's alpha (Jain et al. 2024; 5 is usual). Examples then share no computation.",
         "训练时加在词嵌入上的噪声，即 NEFTune 的 alpha（Jain 等，2024；常用 5）。此时样本之间不共享计算。"];
    ema: f64 = 0.0, Kind::Number { min: 0.0, max: 0.99999, positive: false }, Absent::Default, "0.99",
        ["Decay of a running average of the weights, which is saved instead of the last ones. 0: none.",
         "权重滑动平均的衰减；保存的是平均值而不是最后的权重。0 表示不用。"];
    on_divergence: OnDivergence = OnDivergence::Stop, Kind::Choice(OnDivergence::CHOICES), Absent::Default, "\"warn\"",
        ["What to do when the loss climbs: when its average over 20 steps stands one nat above the lowest such average so far.",
         "损失上升时怎么办：最近 20 步的平均值比此前最低的 20 步平均值高出 1 奈特时。"];
    samples: Samples = Samples::default(), Kind::Table(&Samples::SECTION), Absent::Default,
        "{ prompts = [\"Where is my parcel?\"] }",
        ["Questions that the model answers while it learns, to be read in `nurture watch` and in `samples.jsonl`. The result does not depend on them.",
         "训练过程中让模型回答的问题，可在 `nurture watch` 和 `samples.jsonl` 里看。结果与它们无关。"];
    seed: u64 = 1, Kind::Integer { min: 0, max: i64::MAX }, Absent::Default, "7",
        ["Seed of everything random: first weights, order of the data, the sample of an exam.",
         "一切随机的种子：初始权重、数据顺序、考题抽样。"];
    checkpoint_every: Option<usize> = None, COUNT, DIAL, "50",
        ["Steps between two checkpoints.", "两个检查点之间隔多少步。"];
    threads: Option<usize> = None, Kind::Integer { min: 1, max: 4096 },
        Absent::Means(Text::new("all cores of the machine", "机器的全部核心")), "2",
        ["Threads to work with. The result does not depend on it.", "用多少个线程。结果与它无关。"];
} }

section! { Keep ["Breadth that is kept while depth is learnt: each step also holds the model to its base on some general text.",
    "学深的同时保住的广度：每一步也让模型在一些通用文本上贴近基座。"] {
    text: Vec<String> = vec!["general".into()], Kind::List(&Kind::NameOrPath), Absent::Default, "[\"general\"]",
        ["General texts to keep: `general` ships with the project (English and Chinese), or paths to UTF-8 text files. They must not be those of `eval.breadth`.",
         "要保住的通用文本：`general` 随项目提供（中英文），或 UTF-8 文本文件的路径。不得与 `eval.breadth` 相同。"];
    share: f64 = 0.25, Kind::Number { min: 0.0, max: 10.0, positive: false }, Absent::Default, "0.5",
        ["Tokens of general text in each step, as a share of the tokens of its examples. They cost time like any others. 0: none.",
         "每一步中通用文本的词元数，相对样本词元数的比例。它们同样花时间。0 表示不用。"];
    strength: f64 = 2.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "1.0",
        ["Factor on the mean divergence from the base (KL, nats a token) beside the mean loss of the examples. 0: none.",
         "与基座的平均散度（KL，每词元奈特）相对样本平均损失的系数。0 表示不用。"];
} }

section! { Samples ["Questions that the model answers while it learns.", "训练过程中让模型回答的问题。"] {
    prompts: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"Where is my parcel?\"]",
        ["The questions, put as a user's turn behind the system prompt of the data, if there is one. None: no samples.",
         "问题，作为用户消息放在数据的系统提示词（若有）之后。不写则没有样例。"];
    every: usize = 20, COUNT, Absent::Default, "20",
        ["Steps between two rounds of answers (there is always one after the last step).", "隔多少步回答一轮（最后一步之后总有一轮）。"];
    max_tokens: usize = 48, Kind::Integer { min: 1, max: 4096 }, Absent::Default, "48",
        ["Longest answer in tokens. Answers are greedy.", "回答最长多少词元。取最可能的词元。"];
} }

section! { Adapter ["The small set of weights that is trained beside the frozen base.", "在冻结的基座旁训练的一小组权重。"] {
    kind: AdapterKind = AdapterKind::Lora, Kind::Choice(AdapterKind::CHOICES), Absent::Default, "\"lora\"",
        ["The kind of adapter.", "适配器的种类。"];
    rank: usize = 16, Kind::Integer { min: 1, max: 4096 }, Absent::Default, "16",
        ["LoRA rank: width of the two thin matrices.", "LoRA 的秩：两个细长矩阵的宽度。"];
    alpha: Option<f64> = None, Kind::Number { min: 0.0, max: 1e6, positive: true },
        Absent::Means(Text::new("twice the rank", "秩的两倍")), "32.0",
        ["LoRA alpha; the adapter's product is scaled by alpha / rank.", "LoRA 的 alpha；适配器的乘积按 alpha / rank 缩放。"];
    rslora: bool = false, Kind::Bool, Absent::Default, "true",
        ["Scale by alpha / √rank instead (rank-stabilised LoRA).", "改用 alpha / √rank 缩放（秩稳定的 LoRA）。"];
    dora: bool = false, Kind::Bool, Absent::Default, "true",
        ["Train the length of each output's tuned weights apart from their direction (DoRA, Liu et al. 2024). Costs about a third more time.",
         "把每个输出的权重的长度与方向分开训练（DoRA，Liu 等，2024）。约多花三分之一的时间。"];
    init: AdapterInit = AdapterInit::Random, Kind::Choice(AdapterInit::CHOICES), Absent::Default, "\"pissa\"",
        ["How the adapter begins.", "适配器怎样开始。"];
    b_ratio: f64 = 1.0, Kind::Number { min: 0.001, max: 1000.0, positive: true }, Absent::Default, "16.0",
        ["Learning rate of LoRA's second matrix as a multiple of that of the first (LoRA+, Hayou et al. 2024; 16 is their choice).",
         "LoRA 第二个矩阵的学习率是第一个的多少倍（LoRA+，Hayou 等，2024；论文取 16）。"];
    targets: Vec<Target> = vec![Target::AllLinear], Kind::List(&Kind::Choice(Target::CHOICES)), Absent::Default,
        "[\"q_proj\", \"v_proj\"]",
        ["Which projections of each layer get an adapter.", "每层的哪些投影加适配器。"];
} }

section! { Eval ["How to examine: depth in the own field against breadth kept.", "怎么考：本领域的深度，与保住的广度。"] {
    depth: Vec<Exam> = Vec::new(), Kind::List(&Kind::Table(&Exam::SECTION)), Absent::Default,
        "[{ path = \"data/exam.jsonl\", kind = \"choice\" }]",
        ["Exams of the own field; base and tuned model sit the same items. A bare path stands for `{ path = … }`.",
         "本领域的考试；基座和养成后的模型考同样的题。单写路径等于 `{ path = … }`。"];
    breadth: Vec<String> = vec!["general-mini".into()], Kind::List(&Kind::NameOrPath), Absent::Default,
        "[\"general-mini\"]",
        ["What breadth is measured on. `general-mini`: texts that ship with the project, by perplexity. `general-prompts`: prompts that ship with it (eight abilities, English and Chinese); the base answers, then both read its answers, and how far they diverge is told. Or paths: a text file, or a jsonl file whose rows have a `prompt` (and perhaps an `ability`).",
         "用什么衡量广度。`general-mini`：项目自带的文本，测困惑度。`general-prompts`：项目自带的提示（八种能力，中英文），先由基座作答，再让两个模型读这些回答，报告两者的差异。也可写路径：文本文件，或每行含 `prompt`（可含 `ability`）的 jsonl 文件。"];
    breadth_exams: Vec<Exam> = Vec::new(), Kind::List(&Kind::Table(&Exam::SECTION)), Absent::Default,
        "[{ path = \"data/general.jsonl\", kind = \"choice\" }]",
        ["Exams of other fields, for example public ones that you have: worse answers there, beyond chance, are a loss of breadth.",
         "其他领域的考试，例如你手头的公开考题：在其上确实变差，就是失去了广度。"];
    judge: Option<Judge> = None, Kind::Table(&Judge::SECTION),
        Absent::Means(Text::new("no exam is judged", "没有需要评判的考试")), "{ url = \"http://127.0.0.1:8080\", model = \"judge\" }",
        ["The model that judges exams with `score = \"judge\"`.", "评判 `score = \"judge\"` 的考试的模型。"];
    gate: Gate = Gate::Deeper, Kind::Choice(Gate::CHOICES), Absent::Default, "\"not_worse\"",
        ["Which verdicts are good enough; any other ends the program with exit code 3.",
         "哪些结论算达标；其余结论使程序以退出码 3 结束。"];
    overlap: Overlap = Overlap::LeaveOut, Kind::Choice(Overlap::CHOICES), Absent::Default, "\"report\"",
        ["What to do with exam items that the training data hold: the same or nearly the same question, or much of it in runs of 13 words (Chinese: characters).",
         "训练数据里也有的考题怎么办：问题相同或几乎相同，或大部分文字以连续 13 词（中文为 13 字）以上出现在训练数据里。"];
    overlap_share: f64 = 0.5, Kind::Number { min: 0.0, max: 1.0, positive: true }, Absent::Default, "0.3",
        ["From which share of a question, found in such runs, it overlaps. Runs that many training rows hold do not count.",
         "一道题有多大比例以这种片段出现就算重叠。许多训练行共有的片段不算。"];
    min_gain: f64 = 0.0, SHARE, Absent::Default, "0.05",
        ["Gain in accuracy that the whole 95 % interval must exceed for the verdict “deeper” (0.05 = 5 points); its paired p-value must be below 0.05 too.",
         "判为“更深”所需的正确率增益，95% 区间须整个高于它（0.05 = 5 个百分点），且配对 p 值须小于 0.05。"];
    max_breadth_loss: f64 = 0.05, Kind::Number { min: 0.0, max: 100.0, positive: false }, Absent::Default, "0.02",
        ["Rise of bits per byte on general text, relative to the base, beyond which the verdict says “narrower” (0.05 = 5 %).",
         "通用文本上每字节比特数相对基座的升幅，超过它就判为“变窄”（0.05 = 5%）。"];
    max_divergence: Option<f64> = None, Kind::Number { min: 0.0, max: 100.0, positive: true },
        Absent::Means(Text::new("divergence is told, but decides nothing", "只报告差异，不作判据")), "0.1",
        ["Mean divergence from the base on `general-prompts` (KL, nats a token) beyond which the verdict says “narrower”.",
         "在 `general-prompts` 上与基座的平均差异（KL，每词元奈特），超过它就判为“变窄”。"];
} }

section! { Judge ["A model behind an OpenAI-compatible endpoint that compares answers. Questions and answers are sent there.",
    "OpenAI 兼容端点后的模型，用来比较回答。问题和回答会发送到那里。"] {
    url: String = String::new(), Kind::Text, Absent::Required, "\"http://127.0.0.1:8080\"",
        ["Base URL of the endpoint, with or without `/v1`.", "端点的基础地址，带不带 `/v1` 均可。"];
    model: String = String::new(), Kind::Text, Absent::Required, "\"judge\"",
        ["Name of the model there.", "那里的模型名。"];
    key_env: Option<String> = None, Kind::Text,
        Absent::Means(Text::new("no key is sent", "不发送密钥")), "\"JUDGE_API_KEY\"",
        ["Environment variable that holds the API key. The key itself never stands in a recipe.",
         "存放密钥的环境变量名。密钥本身不写在配方里。"];
    max_tokens: usize = 512, Kind::Integer { min: 1, max: 65_536 }, Absent::Default, "512",
        ["Longest judgement in tokens.", "评判最长多少词元。"];
} }

section! { Exam ["One exam of the own field.", "一场本领域的考试。"] {
    path: PathBuf = PathBuf::new(), Kind::Path, Absent::Required, "\"data/exam.jsonl\"",
        ["The file with the items. It must share no rows with the training data.",
         "考题文件。不得与训练数据有相同的行。"];
    name: Option<String> = None, Kind::Name, Absent::Means(Text::new("the file name", "文件名")), "\"service-desk\"",
        ["Name of the exam in the report.", "考试在报告里的名字。"];
    kind: Option<ExamKind> = None, Kind::Choice(ExamKind::CHOICES), COLUMN, "\"label\"",
        ["How it is answered and scored.", "怎样作答、怎样评分。"];
    items: Option<usize> = None, COUNT, DIAL, "400",
        ["How many items to draw; fewer are faster and less certain.", "抽多少题；少则快，但更不确定。"];
    stratified: bool = true, Kind::Bool, Absent::Default, "false",
        ["Draw the same share of every label.", "按标签等比例抽题。"];
    user: Option<String> = None, Kind::Text, COLUMN, "\"question\"",
        ["Column or key that holds what the model reads: the question, the text, or the list of turns.",
         "存放模型所读内容的列名或键名：问题、文本，或对话轮次的列表。"];
    answer: Option<String> = None, Kind::Text, COLUMN, "\"category\"",
        ["Column or key that holds the right answer.", "存放正确答案的列名或键名。"];
    options: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"A\", \"B\", \"C\", \"D\"]",
        ["Columns or keys that hold the options of a choice: one that holds a list, or one for each. None: found by looking.",
         "存放选择题选项的列名或键名：一个装列表的，或每个选项一个。不写则自动判断。"];
    context: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"passage\"]",
        ["Columns or keys with material that stands before the question.", "放在问题之前的材料的列名或键名。"];
    system: Option<String> = None, Kind::Text, COLUMN, "\"system\"",
        ["Column or key that holds an item's own system prompt.", "存放该题自带系统提示词的列名或键名。"];
    encoding: Option<Encoding> = None, Kind::Choice(Encoding::CHOICES), COLUMN, "\"gb18030\"",
        ["Character encoding of the file.", "文件的字符编码。"];
    score: Score = Score::Exact, Kind::Choice(Score::CHOICES), Absent::Default, "\"contains\"",
        ["How a free answer is compared with the right one.", "自由作答怎样与正确答案比较。"];
    max_tokens: usize = 64, Kind::Integer { min: 1, max: 65_536 }, Absent::Default, "128",
        ["Longest free answer in tokens.", "自由作答最长多少词元。"];
    ask: Ask = Ask::Chat, Kind::Choice(Ask::CHOICES), Absent::Default, "\"plain\"",
        ["In what form the model reads an item.", "模型以什么形式读题。"];
    options_as: OptionsAs = OptionsAs::Letters, Kind::Choice(OptionsAs::CHOICES), Absent::Default, "\"texts\"",
        ["What the answer to a choice is: the letter of an option, or its text.", "选择题的答案是什么：选项的字母，或选项的文字。"];
    pick: Pick = Pick::Greedy, Kind::Choice(Pick::CHOICES), Absent::Default, "\"likelihood\"",
        ["How one answer of several is chosen.", "怎样从几个答案里选出一个。"];
    shots: usize = 0, Kind::Integer { min: 0, max: 64 }, Absent::Default, "5",
        ["Worked examples before each question (few-shot), the same for every item; they come from `shots_from`.",
         "每题之前的示例数（少样本），各题相同；取自 `shots_from`。"];
    shots_from: Option<PathBuf> = None, Kind::Path,
        Absent::Means(Text::new("there are no worked examples", "没有示例")), "\"data/shots.jsonl\"",
        ["File of worked examples, in the form of the exam. It must not be the exam; rows that also stand in the exam are left out.",
         "示例文件，形式与考题相同。不得就是考题文件；与考题相同的行会剔除。"];
} }

section! { Export ["What is written for other tools.", "为其他工具写出什么。"] {
    formats: Vec<ExportFormat> = vec![ExportFormat::Peft], Kind::List(&Kind::Choice(ExportFormat::CHOICES)),
        Absent::Default, "[\"peft\"]",
        ["Formats to write.", "写出的格式。"];
} }

choices! { /// How labels become answers.
Labels {
    AsIs = "as_is" ["The label as it stands in the file: `card_arrival`.", "文件里的原样：`card_arrival`。"];
    Words = "words" ["Underscores and hyphens become spaces: `card arrival`.", "下划线和连字符变成空格：`card arrival`。"];
} }

choices! { /// What happens to over-long examples.
OverLong {
    Error = "error" ["Stop and say how many and how long.", "停下，并说明有多少、有多长。"];
    Drop = "drop" ["Leave them out; the ledger counts them.", "舍弃；账本里计数。"];
    Cut = "cut" ["Cut off the end, but never the whole answer; the ledger counts them.",
        "截去结尾，但不会截掉整个答案；账本里计数。"];
} }

choices! { /// What happens to bad rows.
OnBadRow {
    Error = "error" ["Stop at the first one and name file, line and reason.", "遇到第一行就停，说明文件、行号和原因。"];
    Drop = "drop" ["Leave them out; the ledger counts each with its reason.", "舍弃；账本里逐行记下原因。"];
} }

choices! { /// What is never parted between training and exam.
HoldOutBy {
    Question = "question" ["Rows that ask the same.", "问题相同的行。"];
    Group = "group" ["Rows with the same value in the source's `group` column, and rows of one document's questions; other rows as `question`.",
        "来源的 `group` 列取值相同的行，以及同一文档的问题；其他行同 `question`。"];
    Document = "document" ["Rows of one file or document.", "同一文件或文档的行。"];
} }

choices! { /// What happens to exam items that overlap with the training data.
Overlap {
    Off = "off" ["Nobody looks.", "不检查。"];
    Report = "report" ["They are listed, and count.", "列出，仍计分。"];
    LeaveOut = "leave_out" ["They are listed, and nobody sits them.", "列出，不参加考试。"];
} }

choices! { /// A language to keep.
Language {
    Zh = "zh" ["Chinese.", "中文。"];
    En = "en" ["English.", "英文。"];
    Other = "other" ["Any other.", "其他语言。"];
} }

choices! { /// What happens to near duplicates.
NearDuplicates {
    Off = "off" ["Nobody looks.", "不检查。"];
    Report = "report" ["They are counted, and stay.", "只计数，保留。"];
    Drop = "drop" ["They are left out; the first of several alike stays.", "舍弃；几行相似时保留第一行。"];
} }

choices! { /// What happens to sensitive values.
Sensitive {
    Off = "off" ["Nobody looks.", "不检查。"];
    Report = "report" ["They are counted, and stay.", "只计数，保留。"];
    Redact = "redact" ["Each value is replaced by a placeholder such as `[PHONE_1]`, the same value by the same one.",
        "每个值换成 `[PHONE_1]` 这样的占位符，同一个值总是同一个占位符。"];
    Drop = "drop" ["The row is left out.", "舍弃该行。"];
} }

choices! { /// What counts as personal data.
PersonalKind {
    IdCard = "id_card" ["Chinese identity cards (GB 11643, with check digit).", "居民身份证号（GB 11643，含校验码）。"];
    CreditCode = "credit_code" ["Unified social credit codes (GB 32100, with check character).", "统一社会信用代码（GB 32100，含校验码）。"];
    BankCard = "bank_card" ["Bank cards (Luhn).", "银行卡号（Luhn 校验）。"];
    Phone = "phone" ["Telephone numbers.", "电话号码。"];
    Email = "email" ["E-mail addresses.", "电子邮箱。"];
    Plate = "plate" ["Chinese licence plates.", "车牌号。"];
} }

choices! { /// What a row of a training file is.
SourceKind {
    Messages = "messages" ["A list of turns with `role` and `content`.", "一串带 `role` 和 `content` 的消息。"];
    Sharegpt = "sharegpt" ["A list of turns with `from` and `value`.", "一串带 `from` 和 `value` 的消息。"];
    Instruction = "instruction" ["An instruction, perhaps an input, and an output.", "指令、可选的输入和输出。"];
    PromptCompletion = "prompt_completion" ["A prompt and its completion.", "提示和它的续写。"];
    QuestionAnswer = "question_answer" ["A question and its answer, or several right ones.", "问题和答案，正确答案可以有几个。"];
    Label = "label" ["A text and its category.", "一段文字和它的类别。"];
    Choice = "choice" ["A question, its options, and which one is right.", "问题、选项和正确的那一项。"];
    Text = "text" ["Plain text, for `train.method = \"pretrain\"`.", "纯文本，用于 `train.method = \"pretrain\"`。"];
} }

choices! { /// Character encoding of a file.
Encoding {
    Utf8 = "utf-8" ["UTF-8, with or without a byte-order mark.", "UTF-8，有无字节序标记都行。"];
    Utf16Le = "utf-16le" ["UTF-16, low byte first.", "UTF-16，低字节在前。"];
    Utf16Be = "utf-16be" ["UTF-16, high byte first.", "UTF-16，高字节在前。"];
    Gb18030 = "gb18030" ["GB18030, which contains GBK and GB2312.", "GB18030，包含 GBK 和 GB2312。"];
} }

choices! { /// The method of upbringing.
Method {
    Sft = "sft" ["Supervised fine-tuning: learn to give the answers of the examples.", "监督微调：学会给出样本里的答案。"];
    Pretrain = "pretrain" ["Learn on from plain text: every token is learnt, long documents are cut into sequences of `train.max_len`.",
        "在纯文本上继续预训练：每个词元都学，长文档按 `train.max_len` 切成序列。"];
} later {
    "dpo" ["Preference: better and worse answer in pairs.", "偏好：好坏答案成对。"];
    "kto" ["Preference: answers marked good or bad.", "偏好：答案标好或坏。"];
    "orpo" ["Preference and supervised fine-tuning in one.", "偏好与监督微调合一。"];
    "grpo" ["Reinforcement learning under rules, in groups.", "按规则分组的强化学习。"];
} }

choices! { /// How gradients become steps.
Optimiser {
    AdamW = "adamw" ["AdamW (Loshchilov & Hutter 2019), moments in float32.", "AdamW（Loshchilov 与 Hutter，2019），矩用 float32。"];
    AdamW8 = "adamw8bit" ["AdamW with moments of eight bits: a quarter of their memory.", "AdamW，矩用 8 位：只占四分之一的内存。"];
    Muon = "muon" ["Full training: Muon (Jordan et al. 2024) for the projections, AdamW for the rest. Its steps cost extra work that pays with large batches.",
        "全参数训练：投影用 Muon（Jordan 等，2024），其余用 AdamW。每步有额外计算，批大时才划算。"];
    ScheduleFree = "schedule_free" ["AdamW without a schedule (Defazio et al. 2024): an average of the way is saved, the rate does not fall.",
        "不需要学习率计划的 AdamW（Defazio 等，2024）：保存沿途的平均，学习率不下降。"];
} }

choices! { /// The kind of adapter.
AdapterKind {
    Lora = "lora" ["Low-rank adaptation (Hu et al. 2021).", "低秩适配（Hu 等，2021）。"];
} }

choices! { /// How an adapter begins.
AdapterInit {
    Random = "random" ["The first matrix random, the second zero: it changes nothing yet.", "第一个矩阵随机，第二个为零：起初什么都不改变。"];
    Pissa = "pissa" ["As the strongest part of each weight (PiSSA, Meng et al. 2024); another half of the same rank, which does not train, takes it away again. Saved with twice the rank.",
        "取每个权重最强的部分（PiSSA，Meng 等，2024）；另有同秩、不训练的一半把它抵消。保存时秩翻倍。"];
} }

choices! { /// The one dial.
Effort {
    Quick = "quick" ["A first answer: about ten minutes on two cores.", "先看个结果：两核约十分钟。"];
    Normal = "normal" ["A model to use: about three quarters of an hour on two cores.", "可以用的模型：两核约四十五分钟。"];
    Thorough = "thorough" ["At least three passes over all data, however long it takes.", "全部数据至少三遍，不计时间。"];
} }

choices! { /// How the learning rate falls.
Schedule {
    Cosine = "cosine" ["Along half a cosine to zero.", "沿半个余弦降到零。"];
    Linear = "linear" ["In a straight line to zero.", "直线降到零。"];
    Constant = "constant" ["Not at all.", "不下降。"];
    Wsd = "wsd" ["Not at all until the last fifth of the steps, then to zero.", "到最后五分之一的步数才降，直到零。"];
} }

choices! { /// What happens when the loss climbs.
OnDivergence {
    Stop = "stop" ["Stop with what was seen and what to try; the last checkpoint stays.", "停下，说明看到了什么、可以怎么办；最后的检查点保留。"];
    Warn = "warn" ["Go on; the metrics and the report say so.", "继续；指标和报告里注明。"];
    Off = "off" ["Do not look.", "不检查。"];
} }

choices! { /// A projection of a layer that can carry an adapter.
Target {
    AllLinear = "all-linear" ["All seven of the others.", "下面七个全部。"];
    QProj = "q_proj" ["Queries.", "查询。"];
    KProj = "k_proj" ["Keys.", "键。"];
    VProj = "v_proj" ["Values.", "值。"];
    OProj = "o_proj" ["Attention output.", "注意力输出。"];
    GateProj = "gate_proj" ["Gate of the feed-forward part.", "前馈部分的门。"];
    UpProj = "up_proj" ["Up-projection of the feed-forward part.", "前馈部分的升维。"];
    DownProj = "down_proj" ["Down-projection of the feed-forward part.", "前馈部分的降维。"];
} }

choices! { /// How an exam is answered and scored.
ExamKind {
    Choice = "choice" ["Each item brings its own options; the model can only answer one of them.",
        "每题自带选项；模型只能答其中之一。"];
    Label = "label" ["All items share one set of labels; the model can only answer one of them.",
        "所有题共用一组标签；模型只能答其中之一。"];
    Free = "free" ["The model writes freely; `score` compares.", "模型自由作答；按 `score` 比较。"];
    Perplexity = "perplexity" ["Plain text of the field: perplexity and bits per byte.", "本领域的纯文本：困惑度与每字节比特数。"];
} }

choices! { /// Which verdicts are good enough.
Gate {
    Deeper = "deeper" ["Deeper, and no narrower than allowed.", "更深，且没有超出允许的变窄。"];
    DeeperOrNarrower = "deeper_or_narrower" ["Deeper, narrower or not.", "更深，不论是否变窄。"];
    NotWorse = "not_worse" ["Anything but worse.", "只要不变差。"];
    Nothing = "nothing" ["Whatever the exams show.", "不论考试结果。"];
} }

choices! { /// In what form the model reads an item.
Ask {
    Chat = "chat" ["Turns of a conversation, by the model's chat template.", "对话轮次，按模型的对话模板。"];
    Plain = "plain" ["One plain text without a template, the answer behind the question: for base models, and as evaluation harnesses ask.",
        "不用模板的纯文本，答案接在问题之后：用于基座模型，也是评测框架的问法。"];
} }

choices! { /// What the answer to a choice is.
OptionsAs {
    Letters = "letters" ["The question lists the options as `A. …`, the answer is a letter.", "问题里列出 `A. …`，答案是字母。"];
    Texts = "texts" ["The question stands alone, the answer is an option's text.", "只有问题，答案是选项的文字。"];
} }

choices! { /// How one answer of several is chosen.
Pick {
    Greedy = "greedy" ["What greedy decoding gives where it can give nothing else. Cheapest.", "只能从中作答时贪心解码给出的答案。最省。"];
    Likelihood = "likelihood" ["The most likely answer (`acc` of evaluation harnesses).", "似然最大的答案（评测框架的 `acc`）。"];
    PerToken = "per_token" ["The likeliest by the mean of its tokens.", "按词元平均，似然最大的答案。"];
    PerChar = "per_char" ["The likeliest by its characters (`acc_norm` of evaluation harnesses).", "按字符平均，似然最大的答案（评测框架的 `acc_norm`）。"];
} }

choices! { /// How a free answer is compared.
Score {
    Exact = "exact" ["The same words, whatever the case and spacing.", "词语相同，不论大小写和空白。"];
    Contains = "contains" ["The right answer occurs in it.", "其中出现正确答案。"];
    TokenF1 = "token_f1" ["Overlap of words (Chinese: characters), from 0 to 1.", "词（中文按字）的重合度，0 到 1。"];
    Number = "number" ["The final number, by value: behind `####`, `\\boxed{` or “answer is”, else the last one.",
        "最后的数，按数值比较：取 `####`、`\\boxed{` 或“答案是”之后的数，否则取最后一个。"];
    Bleu = "bleu" ["BLEU as sacrebleu has it (13a; Chinese: zh), from 0 to 1.", "BLEU，与 sacrebleu 一致（13a；中文用 zh），0 到 1。"];
    Chrf = "chrf" ["chrF as sacrebleu has it, from 0 to 1.", "chrF，与 sacrebleu 一致，0 到 1。"];
    Rouge1 = "rouge_1" ["ROUGE-1 as F1; Chinese by characters.", "ROUGE-1 的 F1；中文按字。"];
    Rouge2 = "rouge_2" ["ROUGE-2 as F1; Chinese by characters.", "ROUGE-2 的 F1；中文按字。"];
    RougeL = "rouge_l" ["ROUGE-L as F1; Chinese by characters.", "ROUGE-L 的 F1；中文按字。"];
    Json = "json" ["It is JSON and equal to the right answer, whatever the order of keys.", "是 JSON，且与正确答案相等，不论键的顺序。"];
    JsonSchema = "json_schema" ["It is JSON and what the schema asks for that stands in place of the right answer.",
        "是 JSON，且符合写在正确答案位置的模式（JSON Schema）。"];
    ToolCalls = "tool_calls" ["The same tool calls with the same arguments, in any order.", "相同的工具调用和参数，不论顺序。"];
    Judge = "judge" ["Another model (`eval.judge`) compares base and raised answer, in both orders.", "由另一个模型（`eval.judge`）比较基座与养成后的回答，两种顺序各一次。"];
    Refusal = "refusal" ["It refuses where the right answer says `unsafe` (or `refuse`) and answers where it says `safe` (or `answer`); known by its phrases.",
        "正确答案写 `unsafe`（或 `refuse`）时拒绝，写 `safe`（或 `answer`）时作答；按措辞判断。"];
} }

choices! { /// A format for other tools.
ExportFormat {
    Peft = "peft" ["The adapter as Hugging Face PEFT reads it.", "Hugging Face PEFT 能读的适配器。"];
} later {
    "hf" ["A model folder with the adapter merged in.", "并入适配器的模型文件夹。"];
    "gguf" ["A GGUF file with the adapter merged in.", "并入适配器的 GGUF 文件。"];
} }

impl Adapter {
    /// LoRA alpha, the given one or twice the rank.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(2.0 * self.rank as f64)
    }

    /// The projections that get an adapter, by their Hugging Face names, in layer order, each once.
    pub fn modules(&self) -> Vec<&'static str> {
        let all = self.targets.contains(&Target::AllLinear);
        Target::CHOICES[1..]
            .iter()
            .map(|choice| choice.name)
            .filter(|name| all || self.targets.iter().any(|target| target.word() == *name))
            .collect()
    }
}

impl HoldOut {
    /// The exam that the rows become. It has no file.
    pub fn exam(&self) -> Exam {
        Exam {
            name: Some(self.name.clone()),
            items: self.items,
            score: self.score,
            max_tokens: self.max_tokens,
            ..Exam::default()
        }
    }
}

impl Recipe {
    /// All exams: those of `eval.depth`, those of `eval.breadth_exams`, then the held-out rows.
    pub fn exams(&self) -> Vec<Exam> {
        let given = self.eval.exams().map(|(_, exam, _)| exam.clone());
        given.chain(self.data.hold_out.iter().map(HoldOut::exam)).collect()
    }
}

impl PersonalKind {
    /// All of them.
    pub const ALL: [PersonalKind; 6] = [
        PersonalKind::IdCard,
        PersonalKind::CreditCode,
        PersonalKind::BankCard,
        PersonalKind::Phone,
        PersonalKind::Email,
        PersonalKind::Plate,
    ];
}

impl Eval {
    /// All exams with their keys: of the own field, then (`true`) of others.
    pub fn exams(&self) -> impl Iterator<Item = (String, &Exam, bool)> {
        let own = self.depth.iter().enumerate().map(|(i, e)| (format!("eval.depth[{i}]"), e, false));
        let general = self.breadth_exams.iter().enumerate();
        own.chain(general.map(|(i, e)| (format!("eval.breadth_exams[{i}]"), e, true)))
    }

    /// The same exams, to be changed.
    pub(crate) fn exams_mut(&mut self) -> impl Iterator<Item = &mut Exam> {
        self.depth.iter_mut().chain(&mut self.breadth_exams)
    }
}

impl Exam {
    /// Whether it has items, and is not a text to read.
    pub fn has_items(&self) -> bool {
        self.kind != Some(ExamKind::Perplexity)
    }
}

impl Model {
    /// What the base is called: as the recipe names it, or `newborn`.
    pub fn name(&self) -> &str {
        self.base.as_deref().unwrap_or("newborn")
    }
}
