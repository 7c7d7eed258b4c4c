//! Content streams (ISO 32000-1, 7.8 and 9.4): what a page shows, as characters with places.

use std::rc::Rc;

use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::TypedInstruction as Op;
use hayro_syntax::object::{Array, Dict, Name, Number, Object, Stream};
use hayro_syntax::page::{Page, Resources};

use crate::documents::DocumentProblem;

use super::filters;
use super::font::{Font, Fonts};

/// Deepest nesting of forms.
const DEPTH: usize = 12;
/// Most instructions of a page, those of its forms included.
const INSTRUCTIONS: usize = 20_000_000;
/// Most characters of a page.
const GLYPHS: usize = 2_000_000;
/// Shapes from which on a page without text counts as a drawing: letters as outlines are some, a frame or a rule is few.
const DRAWING: usize = 40;
/// Deepest stack of graphics states.
const STATES: usize = 1024;

/// A character on a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Glyph {
    pub(super) text: String,
    /// Where it begins, on its baseline; in points, upwards.
    pub(super) x: f32,
    pub(super) y: f32,
    /// Its advance in points along its direction.
    pub(super) width: f32,
    /// Its font size on the page, in points.
    pub(super) size: f32,
    /// Which way its text runs: 0 to the right, 1 upwards, 2 to the left, 3 downwards.
    pub(super) turn: u8,
    /// Whether its font is written downwards.
    pub(super) vertical: bool,
}

/// What a page shows.
#[derive(Default)]
pub(super) struct PageShown {
    pub(super) glyphs: Vec<Glyph>,
    /// Characters whose font does not say what they are.
    pub(super) unmapped: usize,
    /// Whether there are pictures or drawings.
    pub(super) pictures: bool,
}

pub(super) fn show(page: &Page<'_>, fonts: &mut Fonts, cap: usize) -> Result<PageShown, DocumentProblem> {
    let mut content = Vec::new();
    let mut add = |stream: &Stream<'_>| -> Result<(), DocumentProblem> {
        if let Some(data) = filters::decoded(stream, cap)? {
            content.extend(data);
            content.push(b' ');
        }
        if content.len() > cap {
            return Err(DocumentProblem::TooLarge {
                what: "the content of a page, unpacked,",
                cap: cap as u64,
            });
        }
        Ok(())
    };
    match page.raw().get::<Object<'_>>("Contents") {
        Some(Object::Stream(stream)) => add(&stream)?,
        Some(Object::Array(parts)) => {
            for part in parts.iter::<Stream<'_>>() {
                add(&part)?;
            }
        }
        _ => {}
    }
    let mut painter = Painter { fonts, shown: PageShown::default(), steps: 0, paths: 0, cap };
    painter.run(&content, page.resources(), State::default(), 0)?;
    painter.shown.pictures |= painter.paths >= DRAWING;
    Ok(painter.shown)
}

type Matrix = [f32; 6];

const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

/// `a` first, then `b`.
fn times(a: Matrix, b: Matrix) -> Matrix {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
        a[4] * b[0] + a[5] * b[2] + b[4],
        a[4] * b[1] + a[5] * b[3] + b[5],
    ]
}

#[derive(Clone)]
struct State {
    ctm: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    char_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
    rise: f32,
}

impl Default for State {
    fn default() -> Self {
        State {
            ctm: IDENTITY,
            font: None,
            size: 1.0,
            char_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        }
    }
}

struct Painter<'f> {
    fonts: &'f mut Fonts,
    shown: PageShown,
    steps: usize,
    /// Shapes that were drawn.
    paths: usize,
    cap: usize,
}

impl Painter<'_> {
    fn run(
        &mut self,
        content: &[u8],
        resources: &Resources<'_>,
        begin: State,
        depth: usize,
    ) -> Result<(), DocumentProblem> {
        let mut state = begin;
        let mut saved: Vec<State> = Vec::new();
        let (mut text, mut line) = (IDENTITY, IDENTITY);
        let mut ops = TypedIter::new(content);
        while let Some(op) = ops.next() {
            self.steps += 1;
            if self.steps > INSTRUCTIONS {
                return Err(DocumentProblem::TooMany {
                    what: "the instructions of a page are",
                    cap: INSTRUCTIONS as u64,
                });
            }
            match op {
                Op::SaveState(_) if saved.len() < STATES => saved.push(state.clone()),
                Op::RestoreState(_) => {
                    if let Some(before) = saved.pop() {
                        state = before;
                    }
                }
                Op::Transform(t) => state.ctm = times(matrix([t.0, t.1, t.2, t.3, t.4, t.5]), state.ctm),
                Op::BeginText(_) => (text, line) = (IDENTITY, IDENTITY),
                Op::TextFont(f) => {
                    state.size = f.1.as_f32();
                    state.font = match resources.get_font(f.0) {
                        Some(dict) => Some(self.fonts.get(&dict)?),
                        None => None,
                    };
                }
                Op::CharacterSpacing(n) => state.char_space = n.0.as_f32(),
                Op::WordSpacing(n) => state.word_space = n.0.as_f32(),
                Op::HorizontalScaling(n) => state.scale = n.0.as_f32() / 100.0,
                Op::TextLeading(n) => state.leading = n.0.as_f32(),
                Op::TextRise(n) => state.rise = n.0.as_f32(),
                Op::SetTextMatrix(t) => {
                    line = matrix([t.0, t.1, t.2, t.3, t.4, t.5]);
                    text = line;
                }
                Op::NextLine(n) => {
                    line = times([1.0, 0.0, 0.0, 1.0, n.0.as_f32(), n.1.as_f32()], line);
                    text = line;
                }
                Op::NextLineAndSetLeading(n) => {
                    state.leading = -n.1.as_f32();
                    line = times([1.0, 0.0, 0.0, 1.0, n.0.as_f32(), n.1.as_f32()], line);
                    text = line;
                }
                Op::NextLineUsingLeading(_) => {
                    line = times([1.0, 0.0, 0.0, 1.0, 0.0, -state.leading], line);
                    text = line;
                }
                Op::ShowText(s) => self.write(s.0.as_bytes(), &state, &mut text)?,
                Op::NextLineAndShowText(s) => {
                    line = times([1.0, 0.0, 0.0, 1.0, 0.0, -state.leading], line);
                    text = line;
                    self.write(s.0.as_bytes(), &state, &mut text)?;
                }
                Op::ShowTextWithParameters(s) => {
                    state.word_space = s.0.as_f32();
                    state.char_space = s.1.as_f32();
                    line = times([1.0, 0.0, 0.0, 1.0, 0.0, -state.leading], line);
                    text = line;
                    self.write(s.2.as_bytes(), &state, &mut text)?;
                }
                Op::ShowTexts(parts) => {
                    for part in parts.0.iter::<Object<'_>>() {
                        match part {
                            Object::String(s) => self.write(s.as_bytes(), &state, &mut text)?,
                            Object::Number(n) => {
                                let by = -n.as_f32() / 1000.0 * state.size;
                                let vertical = state.font.as_ref().is_some_and(|f| f.vertical);
                                let (x, y) = if vertical { (0.0, by) } else { (by * state.scale, 0.0) };
                                text = times([1.0, 0.0, 0.0, 1.0, x, y], text);
                            }
                            _ => {}
                        }
                    }
                }
                Op::InlineImage(_) => self.shown.pictures = true,
                Op::FillPathNonZero(_) | Op::FillPathEvenOdd(_) | Op::StrokePath(_) => self.paths += 1,
                Op::XObject(name) => {
                    let Some(stream) = resources.get_x_object(name.0) else { continue };
                    self.x_object(&stream, resources, &state, depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn x_object(
        &mut self,
        stream: &Stream<'_>,
        outer: &Resources<'_>,
        state: &State,
        depth: usize,
    ) -> Result<(), DocumentProblem> {
        if stream.dict().get::<Name<'_>>("Subtype").is_none_or(|n| n.as_str() != "Form") {
            self.shown.pictures = true;
            return Ok(());
        }
        if depth >= DEPTH {
            return Ok(());
        }
        let Some(content) = filters::decoded(stream, self.cap)? else { return Ok(()) };
        // unpacking is work too: forms that hold each other many times come to an end
        self.steps += content.len() / 16;
        let mut inner = state.clone();
        if let Some(m) = stream.dict().get::<Array<'_>>("Matrix") {
            let m: Vec<f32> = m.iter::<f32>().collect();
            if let [a, b, c, d, e, f] = m[..] {
                inner.ctm = times([a, b, c, d, e, f], inner.ctm);
            }
        }
        match stream.dict().get::<Dict<'_>>("Resources") {
            Some(own) => self.run(&content, &Resources::new(own), inner, depth + 1),
            None => self.run(&content, outer, inner, depth + 1),
        }
    }

    fn write(&mut self, bytes: &[u8], state: &State, text: &mut Matrix) -> Result<(), DocumentProblem> {
        let Some(font) = &state.font else {
            self.shown.unmapped += bytes.len();
            return Ok(());
        };
        let shown = &mut self.shown;
        let vertical = font.vertical;
        font.each(bytes, |c| {
            let placed = times([state.scale, 0.0, 0.0, 1.0, 0.0, state.rise], times(*text, state.ctm));
            let along = (placed[0], placed[1]);
            let (unit, up) = (along.0.hypot(along.1), placed[2].hypot(placed[3]));
            let size = (state.size * up).abs();
            match c.text {
                Some(letters)
                    if size.is_finite() && size > 0.01 && placed[4].is_finite() && placed[5].is_finite() =>
                {
                    if shown.glyphs.len() < GLYPHS {
                        shown.glyphs.push(Glyph {
                            text: letters,
                            x: placed[4],
                            y: placed[5],
                            width: if vertical { size } else { (c.width * state.size * unit).abs() },
                            size,
                            turn: turn(along.0 * state.size.signum(), along.1 * state.size.signum()),
                            vertical,
                        });
                    }
                }
                Some(_) => {}
                None => shown.unmapped += 1,
            }
            let space = state.char_space + if c.space { state.word_space } else { 0.0 };
            let (x, y) = if vertical {
                (0.0, -state.size + space)
            } else {
                ((c.width * state.size + space) * state.scale, 0.0)
            };
            *text = times([1.0, 0.0, 0.0, 1.0, x, y], *text);
        });
        if shown.glyphs.len() >= GLYPHS {
            return Err(DocumentProblem::TooMany {
                what: "the characters of a page are",
                cap: GLYPHS as u64,
            });
        }
        Ok(())
    }
}

fn matrix(numbers: [Number; 6]) -> Matrix {
    numbers.map(|n| n.as_f32())
}

/// The nearest of the four directions.
fn turn(x: f32, y: f32) -> u8 {
    match (x.abs() >= y.abs(), x >= 0.0, y >= 0.0) {
        (true, true, _) => 0,
        (true, false, _) => 2,
        (false, _, true) => 1,
        (false, _, false) => 3,
    }
}
