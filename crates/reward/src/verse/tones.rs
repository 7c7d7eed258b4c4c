//! Tone and rhyme of common characters: the project's own table.
//!
//! One line a rhyme group and tone. Groups follow today's Mandarin finals, as the new rhymes (新韵) do: fourteen of them.
//! *Level* (平) is the first and second tone, *oblique* (仄) the third and fourth. [`ENTERING`] lists characters that ended
//! in a stop until the Song (入声) and that regulated verse counts as oblique whatever they sound like today; the classical
//! view takes them out of the level lines. A character with two readings stands in two lines. What is not in the table is
//! not judged.

use super::forms::simplified;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Level or oblique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tone {
    Level,
    Oblique,
}

/// A rhyme group, by its place in the table.
pub(crate) type Rhyme = u8;

/// `(level, oblique)` of each group; the finals stand before them.
const GROUPS: [(&str, &str); 14] = [
    // a, ia, ua
    (
        "麻家花华沙茶霞涯斜车鸦瓜夸加嘉佳遮差叉巴芭爬拿娃蛙牙芽崖衙瑕遐葩纱琶茬楂他她妈呀啊发八杀插察刷鸭压夹滑答达杂",
        "马下夏化话画架驾稼嫁价假雅瓦把霸怕帕骂打大罢坝炸诈榨诧挂卦跨亚讶吓哑耍洒塔踏榻法甲罚腊蜡纳撒萨飒",
    ),
    // o, e, uo
    (
        "歌多河何罗波禾和过科柯戈阿蛾峨娥鹅哥荷莎蓑梭磨摩魔坡婆陀驼拖娜挪锣萝窝蜗锅国合盒阁格隔革德得则责泽薄博伯白泊佛夺脱托说捉桌浊拨活勃脖舌折哲蝉佗沱",
        "火我可个坐座卧左过破果裹朵躲祸货贺课饿颗颇锁所琐堕惰舵播簸夜热客色策彻设乐陌莫末墨落阔或惑获诺弱若作错握沃渴各鹤恶遏默刻克测侧涩瑟册壑漠魄寞",
    ),
    // ie, üe
    (
        "爷街阶皆些斜邪鞋谐携嗟靴爹茄节接结洁别绝觉学决诀雪缺薛贴铁歇揭跌叠蝶协切",
        "夜野也冶写谢泻卸解界戒介届借姐且械懈蟹月越悦阅粤岳乐约雪血铁烈列裂猎劣灭蔑业叶页确却鹊雀怯切妾",
    ),
    // ai, uai
    (
        "开来台哀灾栽哉才材财裁猜埃苔抬莱徕怀淮槐阶该垓斋钗柴排牌埋徊孩白摘宅衰",
        "海改彩采在再爱碍待代带戴袋态太泰害盖丐慨概载耐奈赖菜蔡外快块坏怪卖买迈派拜败寨债晒百麦脉",
    ),
    // ei, ui
    (
        "飞归晖辉微非妃扉菲霏肥围闱违韦帷维惟为危巍威悲杯碑卑梅媒煤枚眉楣湄埋陪培回灰徊恢谁垂锤陲随雷累追锥吹炊推魁亏窥奎葵催唯挥",
        "美水鬼悔毁委伟尾苇位未味畏慰胃谓贵桂柜跪会汇惠慧晦秽绘岁碎睡泪类累内妹昧媚背倍备被辈贝对队退脆翠醉罪最锐瑞坠愧配佩辔魏卫费废肺北黑",
    ),
    // ao, iao
    (
        "高刀涛桃逃陶劳牢毛袍曹遭糟骚豪毫嚎蒿号熬遨茅巢超朝潮招昭烧饶桥遥谣摇腰邀妖娇骄焦椒蕉萧箫潇消霄宵销逍苗描飘漂条调迢凋雕聊寥辽僚撩樵憔敲茭交郊郎包苞抛胞薄",
        "好草老早道到岛倒导考皓照赵兆召少绍晓小笑校啸效孝鸟了料妙庙渺钓吊叫觉较教轿俏峭桥表抱报暴宝保饱炮貌帽茂闹脑恼扰绕要耀药钥跃傲奥告扫造灶躁枣澡盗稻套罩角",
    ),
    // ou, iu
    (
        "秋流愁楼头舟州洲游悠忧优由油犹幽侯喉猴钩沟收柔求球裘休修羞牛留榴刘浮谋眸牟囚酬筹稠畴绸抽周投偷鸥讴丘邱啾",
        "酒柳久九有友手首守口厚后候旧就救袖秀绣寿受授瘦兽宿透豆斗走奏叩扣寇漏陋楼右又幼佑诱昼宙皱咒骤朽垢苟狗藕偶丑臭六肉岫",
    ),
    // an, ian, uan, üan
    (
        "山间关还闲颜寒残难看安干单丹滩坛弹兰栏阑澜谈三南男岚堪酣含函帆凡翻番烦繁天年前先边烟千仙田莲怜连帘鞭篇偏眠绵然燃颠坚肩贤弦悬缘船传全泉川穿宣圆园元原源猿轩喧言冤鸳官观冠欢宽端酸鸾峦团盘漫弯湾环鬟攀班斑般搬潺删衫尖添甜兼嫌盐檐潜占簪钱",
        "晚远满断看见面片遍变散乱叹汉岸案暗万饭半伴畔慢漫谩幔唤换焕患宦幻贯灌冠惯短款缓暖管馆转卷眷倦恋练炼燕雁宴艳焰验念店点淡胆敢感惨览揽浅剑箭践贱建键健现献县限线院怨愿劝犬选善扇展战占染闪眼殿掩渐返",
    ),
    // en, in, un, ün
    (
        "春人新尘亲身神真珍邻频贫辰晨臣陈津滨宾秦仁因茵银巾民村门魂孙樽尊昏婚温论存坤昆云君群军裙闻文纹分纷芬氛焚坟根痕恩吞奔盆林深心金今琴禽吟音阴荫沉寻侵襟森针斟岑参浔巡旬循均匀轮伦沦淳纯唇临砧",
        "尽进近信印隐引饮恨忍本粉问闷论顿困稳吻混损闪阵震振镇枕甚朕慎肾韵运训俊峻骏顺舜润笋准允锦紧谨禁沁恁任认刃品寝凛",
    ),
    // ang, iang, uang
    (
        "光长阳乡凉霜香堂郎章肠床黄王忙塘芳方房防茫苍藏仓桑丧央扬杨羊洋祥翔梁粱量良娘庄装妆窗双江邦航行康糠刚冈缸汤唐糖棠昂囊狂匡筐荒慌皇凰惶湟常尝裳偿商伤觞张场强墙湘厢箱沧亡傍",
        "上望向响想象像相往爽朗浪放访状壮撞创怅畅唱丈帐杖涨掌赏巷降匠酱将讲两亮谅量荡党挡葬藏丧抗旺忘妄网广旷况晃恍仰养痒样尚",
    ),
    // eng, ing, ong, iong
    (
        "风空中红东同童铜桐通聪葱丛匆公功工攻宫弓躬穷穹雄熊终钟虫崇冲充融戎容蓉溶龙笼聋隆农浓松宗踪从丰峰锋蜂逢缝蓬篷朦蒙盟梦生声城成诚程盛情清晴轻青星醒经茎惊京荆晶睛精明名鸣铭命平屏瓶萍兵冰英莺鹰迎盈营萤楹庭廷亭停听汀丁钉宁灵零龄伶凌陵横衡耕更庚羹争筝僧层曾增登灯腾藤能棱恒承乘绳升兴胜称蒸征凭应旌",
        "梦送共动洞冻弄痛统重众种用涌勇咏永拥龙凤奉诵颂宋纵宠恐孔拱静净境镜敬竞径劲颈景影映硬定顶鼎订性姓幸杏兴醒请庆命令领岭病并柄胜圣盛剩正政证整冷赠凳等邓更应竟井",
    ),
    // i, er, ü
    (
        "西溪低啼堤提题齐泥迷鸡妻凄栖犀篱离漓璃移宜疑姨期棋旗奇骑枝祈衣依医稀希机饥基姬矶畿皮疲脾披批儿而居车渠虚墟须鱼渔余馀舒书疏驴闾徐于盂愚虞娱隅榆逾愉区驱躯趋趣敌笛滴息夕昔席习惜析击积急极疾集及级吉籍曲菊局橘几萋羁",
        "里理李礼起喜水细计记寄季际济霁意义议易异艺翼邑忆地第弟帝底洗戏系气弃器砌丽利力立历粒砾栗碧壁璧避毕闭笔比耳二语雨羽宇与女去趣处绪序叙聚句惧据巨拒举取旅缕绿律玉狱浴欲域几已岂倚亦翳",
    ),
    // -i after z, c, s, zh, ch, sh, r
    (
        "时诗师迟知枝支施尸丝思私司斯词辞祠慈磁雌疵姿资兹滋之芝脂池驰持痴石食十拾实识失湿直值织职执日掷吃只",
        "是事世市试士仕视示誓逝势始史使驶矢屎子紫字自四寺似死思次刺此志至致置治制智止纸指旨耻齿赤翅日室释适饰只",
    ),
    // u
    (
        "湖孤无芜乌吴吾梧枯呼壶胡狐芦炉庐颅鲈苏酥图途徒涂屠都朱珠株诸初除厨锄蜍书舒枢输殊夫扶浮符肤敷铺蒲姑沽辜奴如儒鹄哭独读毒烛竹逐叔熟秃突忽谷足族福服伏骨屋出",
        "路雾暮树度渡故古鼓五午武舞悟误户护虎苦库步部布处楚住柱主注数暑鼠署素诉父付妇负富赋府斧土吐兔怒露鹭鲁虏母亩木目牧墓慕竹入辱绿陆鹿录宿速粟肃束不促复腹覆祝筑触蜀骨谷顾戍驻渚曙",
    ),
];

/// Entering tone (入声) of the classical view, whatever the reading of today.
const ENTERING: &str = "一七八十百白石月日落入出不北国客雪色竹曲叶绝节别说学觉读独烛足族福服伏骨屋谷哭熟叔逐毒突忽急极集及级吉籍疾积击息夕昔席习惜析敌笛滴菊局橘食拾实识失湿直值织职执吃接结洁决诀缺歇揭蝶叠\
协切贴铁发杀插察刷鸭压夹滑答达杂合盒阁格隔革德得则责泽薄博伯泊佛夺脱托捉桌浊拨活勃舌折哲摘宅黑陌莫末墨阔或惑获诺弱若作错握沃渴各鹤恶遏默刻克测侧涩瑟册热策彻设乐岳越悦阅粤约血烈列裂\
猎劣灭蔑业页确却鹊雀怯妾六肉宿绿玉狱浴欲域律力立历粒砾栗碧壁璧毕笔邑忆益液腋尺赤室释适饰蜀触祝筑复腹覆促速粟肃束陆鹿录木目牧辱薛麦脉袭寂寞拂物没歹曰鸽踏榻塔腊蜡纳甲法亦角即壑漠魄";

/// Whose reading counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tones {
    /// Today's Mandarin (新韵).
    #[default]
    Modern,
    /// Characters of the entering tone are oblique (旧声). Rhymes still follow today's finals.
    Classical,
}

type Table = HashMap<char, Vec<(Rhyme, Tone)>>;

static MODERN: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for (rhyme, (level, oblique)) in (0u8..).zip(GROUPS) {
        for (tone, text) in [(Tone::Level, level), (Tone::Oblique, oblique)] {
            for c in text.chars() {
                let readings = table.entry(c).or_default();
                if !readings.contains(&(rhyme, tone)) {
                    readings.push((rhyme, tone));
                }
            }
        }
    }
    table
});

static ENTERED: LazyLock<std::collections::HashSet<char>> = LazyLock::new(|| ENTERING.chars().collect());

/// The readings of a character, simplified or traditional; none where the table does not have it.
pub(crate) fn readings(c: char, tones: Tones) -> Vec<(Rhyme, Tone)> {
    let c = simplified(c);
    let found = MODERN.get(&c).cloned().unwrap_or_default();
    match tones {
        Tones::Classical if ENTERED.contains(&c) => {
            let rhymes: Vec<Rhyme> = found.iter().map(|r| r.0).collect();
            match rhymes[..] {
                // oblique in any case; rhymes on oblique characters are not asked for
                [] => vec![(u8::MAX, Tone::Oblique)],
                _ => rhymes.into_iter().map(|r| (r, Tone::Oblique)).collect(),
            }
        }
        _ => found,
    }
}

/// Whether a character can have a tone; `None` where the table does not have it.
pub(crate) fn can_be(c: char, tone: Tone, tones: Tones) -> Option<bool> {
    let all = readings(c, tones);
    (!all.is_empty()).then(|| all.iter().any(|r| r.1 == tone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_chinese_and_large_enough() {
        assert!(MODERN.len() > 1300, "{}", MODERN.len());
        assert!(MODERN.keys().chain(ENTERED.iter()).all(|c| ('\u{4e00}'..='\u{9fff}').contains(c)));
        assert!(ENTERED.len() > 250, "{}", ENTERED.len());
    }

    #[test]
    fn readings_of_today_and_of_old() {
        assert_eq!(can_be('春', Tone::Level, Tones::Modern), Some(true));
        assert_eq!(can_be('晓', Tone::Level, Tones::Modern), Some(false));
        // two readings
        assert_eq!(can_be('看', Tone::Level, Tones::Modern), Some(true));
        assert_eq!(can_be('看', Tone::Oblique, Tones::Modern), Some(true));
        // level today, entering of old
        assert_eq!(can_be('竹', Tone::Level, Tones::Modern), Some(true));
        assert_eq!(can_be('竹', Tone::Level, Tones::Classical), Some(false));
        assert_eq!(can_be('龘', Tone::Level, Tones::Modern), None);
    }
}
