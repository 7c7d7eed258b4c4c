//! Records of Go games in SGF (format FF[4], Hollosi 1999): the main line of moves and the result. Variations, comments and
//! everything else are passed over.

use crate::game::{Outcome, Side};

/// A game's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// moves of both sides in turn: point `19 y + x` from the upper left corner, 361 for a pass
    pub moves: Vec<u16>,
    /// where the record names a winner
    pub outcome: Option<Outcome>,
}

/// Why a record is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SgfError {
    /// It ends within a value or a node.
    #[error("the record breaks off at byte {0}")]
    Cut(usize),
    /// Not 19 by 19.
    #[error("a board of size {0}, not 19")]
    Size(String),
    /// Stones were set before the first move.
    #[error("a handicap or a set position")]
    SetUp,
    /// A move that is none.
    #[error("move {place}: `{found}` is no point of the board")]
    Point {
        /// its number from 1
        place: usize,
        /// what stands there
        found: String,
    },
    /// One side moved twice.
    #[error("move {place}: the same side moves twice")]
    Turn {
        /// its number from 1
        place: usize,
    },
}

/// Reads the main line.
///
/// # Errors
/// What is broken, or no even game on 19 by 19.
pub fn read_record(text: &str) -> Result<Record, SgfError> {
    let bytes = text.as_bytes();
    let (mut at, mut name) = (0, String::new());
    let (mut moves, mut outcome): (Vec<u16>, _) = (Vec::new(), None);
    while at < bytes.len() {
        match bytes[at] {
            // the main line ends where the first game tree closes
            b')' => return Ok(Record { moves, outcome }),
            b'[' => {
                let (value, end) = value(text, at + 1)?;
                match name.as_str() {
                    "SZ" if value.trim() != "19" => return Err(SgfError::Size(value)),
                    "AB" | "AW" => return Err(SgfError::SetUp),
                    "RE" => {
                        outcome = match value.trim_start().bytes().next() {
                            Some(b'B') => Some(Outcome::Win(Side::First)),
                            Some(b'W') => Some(Outcome::Win(Side::Second)),
                            _ => None,
                        };
                    }
                    "B" | "W" => {
                        let place = moves.len() + 1;
                        if (name == "B") != (place % 2 == 1) {
                            return Err(SgfError::Turn { place });
                        }
                        moves.push(point(&value).ok_or(SgfError::Point { place, found: value })?);
                    }
                    _ => {}
                }
                at = end;
                continue;
            }
            b';' | b'(' => name.clear(),
            c if c.is_ascii_uppercase() => {
                // letters in front of a value are one name; those after another value begin a new one
                if at == 0 || !bytes[at - 1].is_ascii_alphabetic() {
                    name.clear();
                }
                name.push(c as char);
            }
            _ => {}
        }
        at += 1;
    }
    Err(SgfError::Cut(at))
}

/// The value that begins at `from`, without its escapes, and the place behind its bracket.
fn value(text: &str, from: usize) -> Result<(String, usize), SgfError> {
    let (mut out, mut escaped) = (String::new(), false);
    for (i, c) in text[from..].char_indices() {
        match c {
            ']' if !escaped => return Ok((out, from + i + 1)),
            '\\' if !escaped => escaped = true,
            c => {
                out.push(c);
                escaped = false;
            }
        }
    }
    Err(SgfError::Cut(text.len()))
}

fn point(value: &str) -> Option<u16> {
    match value.trim().as_bytes() {
        [] | [b't', b't'] => Some(361),
        [x @ b'a'..=b's', y @ b'a'..=b's'] => Some(u16::from(y - b'a') * 19 + u16::from(x - b'a')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_line_is_read() {
        let text =
            "(;GM[1]FF[4]SZ[19]PB[A \\] B]RE[W+2.5]C[;B\\[aa\\]];B[pd]BL[30];W[dp](;B[tt];W[])(;B[qq]))";
        let record = read_record(text).unwrap();
        assert_eq!(record.moves, [3 * 19 + 15, 15 * 19 + 3, 361, 361]);
        assert_eq!(record.outcome, Some(Outcome::Win(Side::Second)));
    }

    #[test]
    fn what_is_no_even_game_is_told() {
        let problem = |text: &str| read_record(text).unwrap_err();
        assert_eq!(problem("(;SZ[9];B[aa])"), SgfError::Size("9".to_string()));
        assert_eq!(problem("(;SZ[19]AB[pd][dp];W[aa])"), SgfError::SetUp);
        assert_eq!(problem("(;B[zz])"), SgfError::Point { place: 1, found: "zz".to_string() });
        assert_eq!(problem("(;B[aa];B[bb])"), SgfError::Turn { place: 2 });
        assert_eq!(problem("(;B[aa];W[b"), SgfError::Cut(11));
        assert_eq!(problem(""), SgfError::Cut(0));
        assert_eq!(problem("围棋(;C[…"), SgfError::Cut("围棋(;C[…".len()));
    }
}
