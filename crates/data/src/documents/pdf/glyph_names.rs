//! What names of glyphs mean: those that fonts for Latin text use, and the forms `uni4E2D` and `u4E2D` that say it.

/// The text of a glyph name.
pub(super) fn text(name: &str) -> Option<String> {
    // `a.sc` is an a in another form; `f_i` is f and i
    let base = name.split('.').next().filter(|base| !base.is_empty())?;
    if let Some(c) = one(base) {
        return Some(c.to_string());
    }
    if let Some(letters) = LIGATURES.iter().find(|(n, _)| *n == base) {
        return Some(letters.1.to_string());
    }
    if base.contains('_') {
        return base.split('_').map(one).collect();
    }
    None
}

fn one(name: &str) -> Option<char> {
    let mut chars = name.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return c.is_ascii_alphabetic().then_some(c);
    }
    if let Ok(at) = NAMES.binary_search_by(|(n, _)| (*n).cmp(name)) {
        return NAMES.get(at).map(|(_, c)| *c);
    }
    let digits = name
        .strip_prefix("uni")
        .filter(|d| d.len() == 4)
        .or_else(|| name.strip_prefix('u').filter(|d| (4..=6).contains(&d.len())))?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

const LIGATURES: [(&str, &str); 5] =
    [("ff", "ff"), ("ffi", "ffi"), ("ffl", "ffl"), ("fi", "fi"), ("fl", "fl")];

/// Sorted by name.
#[rustfmt::skip]
const NAMES: &[(&str, char)] = &[
    ("AE", 'Æ'), ("Aacute", 'Á'), ("Acircumflex", 'Â'), ("Adieresis", 'Ä'), ("Agrave", 'À'), ("Alpha", 'Α'), ("Aring", 'Å'),
    ("Atilde", 'Ã'), ("Beta", 'Β'), ("Ccedilla", 'Ç'), ("Delta", 'Δ'), ("Eacute", 'É'), ("Ecircumflex", 'Ê'),
    ("Edieresis", 'Ë'), ("Egrave", 'È'), ("Eth", 'Ð'), ("Euro", '€'), ("Gamma", 'Γ'), ("Iacute", 'Í'),
    ("Icircumflex", 'Î'), ("Idieresis", 'Ï'), ("Igrave", 'Ì'), ("Lambda", 'Λ'), ("Lslash", 'Ł'), ("Ntilde", 'Ñ'),
    ("OE", 'Œ'), ("Oacute", 'Ó'), ("Ocircumflex", 'Ô'), ("Odieresis", 'Ö'), ("Ograve", 'Ò'), ("Omega", 'Ω'),
    ("Oslash", 'Ø'), ("Otilde", 'Õ'), ("Phi", 'Φ'), ("Pi", 'Π'), ("Psi", 'Ψ'), ("Scaron", 'Š'), ("Sigma", 'Σ'),
    ("Theta", 'Θ'), ("Thorn", 'Þ'), ("Uacute", 'Ú'), ("Ucircumflex", 'Û'), ("Udieresis", 'Ü'), ("Ugrave", 'Ù'),
    ("Xi", 'Ξ'), ("Yacute", 'Ý'), ("Ydieresis", 'Ÿ'), ("Zcaron", 'Ž'), ("aacute", 'á'), ("acircumflex", 'â'),
    ("acute", '´'), ("adieresis", 'ä'), ("ae", 'æ'), ("agrave", 'à'), ("alpha", 'α'), ("ampersand", '&'),
    ("aring", 'å'), ("asciicircum", '^'), ("asciitilde", '~'), ("asterisk", '*'), ("at", '@'), ("atilde", 'ã'),
    ("backslash", '\\'), ("bar", '|'), ("beta", 'β'), ("braceleft", '{'), ("braceright", '}'), ("bracketleft", '['),
    ("bracketright", ']'), ("brokenbar", '¦'), ("bullet", '•'), ("ccedilla", 'ç'), ("cedilla", '¸'), ("cent", '¢'),
    ("circumflex", 'ˆ'), ("colon", ':'), ("comma", ','), ("copyright", '©'), ("currency", '¤'), ("dagger", '†'),
    ("daggerdbl", '‡'), ("degree", '°'), ("delta", 'δ'), ("dieresis", '¨'), ("divide", '÷'), ("dollar", '$'),
    ("dotlessi", 'ı'), ("eacute", 'é'), ("ecircumflex", 'ê'), ("edieresis", 'ë'), ("egrave", 'è'), ("eight", '8'),
    ("ellipsis", '…'), ("emdash", '—'), ("endash", '–'), ("epsilon", 'ε'), ("equal", '='), ("eta", 'η'), ("eth", 'ð'),
    ("exclam", '!'), ("exclamdown", '¡'), ("five", '5'), ("florin", 'ƒ'), ("four", '4'), ("fraction", '⁄'),
    ("gamma", 'γ'), ("germandbls", 'ß'), ("grave", '`'), ("greater", '>'), ("greaterequal", '≥'), ("guillemotleft", '«'),
    ("guillemotright", '»'), ("guilsinglleft", '‹'), ("guilsinglright", '›'), ("hyphen", '-'), ("iacute", 'í'),
    ("icircumflex", 'î'), ("idieresis", 'ï'), ("igrave", 'ì'), ("infinity", '∞'), ("lambda", 'λ'), ("less", '<'),
    ("lessequal", '≤'), ("logicalnot", '¬'), ("lslash", 'ł'), ("macron", '¯'), ("minus", '−'), ("mu", 'µ'),
    ("multiply", '×'), ("nine", '9'), ("notequal", '≠'), ("ntilde", 'ñ'), ("numbersign", '#'), ("oacute", 'ó'),
    ("ocircumflex", 'ô'), ("odieresis", 'ö'), ("oe", 'œ'), ("ograve", 'ò'), ("omega", 'ω'), ("one", '1'),
    ("onehalf", '½'), ("onequarter", '¼'), ("onesuperior", '¹'), ("ordfeminine", 'ª'), ("ordmasculine", 'º'),
    ("oslash", 'ø'), ("otilde", 'õ'), ("paragraph", '¶'), ("parenleft", '('), ("parenright", ')'), ("partialdiff", '∂'),
    ("percent", '%'), ("period", '.'), ("periodcentered", '·'), ("perthousand", '‰'), ("phi", 'φ'), ("pi", 'π'),
    ("plus", '+'), ("plusminus", '±'), ("psi", 'ψ'), ("question", '?'), ("questiondown", '¿'), ("quotedbl", '"'),
    ("quotedblbase", '„'), ("quotedblleft", '“'), ("quotedblright", '”'), ("quoteleft", '‘'), ("quoteright", '’'),
    ("quotesinglbase", '‚'), ("quotesingle", '\''), ("radical", '√'), ("registered", '®'), ("rho", 'ρ'), ("scaron", 'š'),
    ("section", '§'), ("semicolon", ';'), ("seven", '7'), ("sigma", 'σ'), ("six", '6'), ("slash", '/'), ("space", ' '),
    ("sterling", '£'), ("summation", '∑'), ("tau", 'τ'), ("theta", 'θ'), ("thorn", 'þ'), ("three", '3'),
    ("threequarters", '¾'), ("threesuperior", '³'), ("tilde", '˜'), ("trademark", '™'), ("two", '2'),
    ("twosuperior", '²'), ("uacute", 'ú'), ("ucircumflex", 'û'), ("udieresis", 'ü'), ("ugrave", 'ù'), ("underscore", '_'),
    ("xi", 'ξ'), ("yacute", 'ý'), ("ydieresis", 'ÿ'), ("yen", '¥'), ("zcaron", 'ž'), ("zero", '0'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_text() {
        assert!(NAMES.windows(2).all(|w| w[0].0 < w[1].0), "sorted, so that they are found");
        for (name, want) in [
            ("A", "A"),
            ("seven", "7"),
            ("ffi", "ffi"),
            ("f_i", "fi"),
            ("uni4E2D", "中"),
            ("u1F600", "😀"),
            ("a.sc", "a"),
            ("hyphen", "-"),
        ] {
            assert_eq!(text(name).as_deref(), Some(want), "{name}");
        }
        for nothing in ["g12", "", ".notdef", "uniD800", "cid00012", "u+123456", "中"] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
    }
}
