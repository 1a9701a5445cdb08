//! Card numbers (ISO/IEC 7812: 13 to 19 digits, the last by Luhn) and e-mail addresses, without any name
//! beside them.

use std::ops::Range;

use memchr::memchr3;

const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Digits at the end of bytes that were cut which may be the front of a card number.
const CARD_FRONT: usize = 6;
/// Longest local part of an address (RFC 5321 §4.5.3.1.1).
const LOCAL_MAX: usize = 64;

/// Finds card numbers: groups of digits, apart by one space, dash or plus sign. `is_cut`: more bytes
/// follow that are not here.
pub(crate) fn cards(bytes: &[u8], is_cut: bool, places: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let start = at + found;
        let mut run = Run::default();
        at = run.read(bytes, start);
        let is_front = at == bytes.len() && is_cut && run.len >= CARD_FRONT;
        if is_front || run.has_card {
            places.push(start..at);
        }
    }
}

/// Digits in groups.
#[derive(Default)]
struct Run {
    /// The last ones, by their place modulo the length.
    digits: [u8; 32],
    /// Which of them begin a group, by the same.
    begins: u32,
    len: usize,
    has_card: bool,
}

impl Run {
    /// Reads what begins at `start`; gives its end.
    fn read(&mut self, bytes: &[u8], start: usize) -> usize {
        let (mut at, mut begins) = (start, true);
        loop {
            match bytes.get(at) {
                Some(byte) if byte.is_ascii_digit() => {
                    self.push(byte - b'0', std::mem::replace(&mut begins, false));
                    at += 1;
                    continue;
                }
                _ if !self.has_card => self.has_card = self.ends_card(),
                _ => {}
            }
            begins = true;
            match bytes.get(at) {
                Some(b' ' | b'-' | b'+') if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                    at += 1;
                }
                Some(b'%') if is_encoded_space(bytes, at) => at += 3,
                _ => return at,
            }
        }
    }

    fn push(&mut self, digit: u8, begins: bool) {
        let slot = self.len % 32;
        self.digits[slot] = digit;
        self.begins = self.begins & !(1 << slot) | u32::from(begins) << slot;
        self.len += 1;
    }

    /// Whether the last digits, from the beginning of a group on, are a card number.
    fn ends_card(&self) -> bool {
        CARD_DIGITS.take_while(|len| *len <= self.len).any(|len| {
            let slot = |index: usize| (self.len - len + index) % 32;
            let mut digits = [0; 19];
            digits[..len].iter_mut().enumerate().for_each(|(i, d)| *d = self.digits[slot(i)]);
            self.begins >> slot(0) & 1 == 1 && is_card(&digits[..len])
        })
    }
}

fn is_encoded_space(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at..at + 4), Some([b'%', b'2', b'0' | b'D' | b'd', digit]) if digit.is_ascii_digit())
}

/// Luhn's check, and a first digit that issuers have (no number of zeros).
fn is_card(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(*digit) << (index % 2);
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10) && matches!(digits.first(), Some(2..=6))
}

/// Finds e-mail addresses (RFC 5321 §4.1.2, without quoted local parts). `is_cut` as above: a word at the
/// end may be the front of one.
pub(crate) fn addresses(bytes: &[u8], is_cut: bool, places: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(found) = memchr3(b'@', b'%', b'\\', &bytes[from..]) {
        let at = from + found;
        let mark = match &bytes[at..] {
            [b'@', ..] => 1,
            [b'%', b'4', b'0', ..] => 3,
            [b'\\', b'u', b'0', b'0', b'4', b'0', ..] => 6,
            _ => 0,
        };
        from = at + mark.max(1);
        let before = bytes[..at].iter().rev().take(LOCAL_MAX).take_while(|b| is_local(**b)).count();
        let after = bytes[from..].iter().take_while(|byte| is_domain(**byte)).count();
        let has_domain = bytes[from..from + after].contains(&b'.') || from + after == bytes.len();
        if mark > 0 && before > 0 && has_domain {
            places.push(at - before..from + after);
            from += after;
        }
    }
    if is_cut {
        let word = bytes.iter().rev().take(LOCAL_MAX).take_while(|byte| is_local(**byte)).count();
        places.extend((word > 0).then(|| bytes.len() - word..bytes.len()));
    }
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$'*+-/^_`{|}~%".contains(&byte) || byte >= 0x80
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<` and `>` say what is to be found.
    fn check(text: &str, is_cut: bool, find: fn(&[u8], bool, &mut Vec<Range<usize>>)) {
        let expected: Vec<_> = text
            .find('<')
            .map(|start| start..text.find('>').expect("what is opened is closed") - 1)
            .into_iter()
            .collect();
        let mut places = Vec::new();
        find(text.replace(['<', '>'], "").as_bytes(), is_cut, &mut places);
        assert_eq!(places, expected, "{text}");
    }

    #[test]
    fn card_numbers_are_told_from_others() {
        for text in [
            "a <4111111111111111>.",
            "<4111 1111 1111 1111>",
            "<4111-1111-1111-1111>,",
            "<4111%201111+11111111> ",
            "<3782 822463 10005>",
            "<12 4111111111111111>",
            "<2024-01-01 4111 1111 1111 1111 12>",
            "4111111111111112",
            "0000000000000000",
            "1 2 3 4 5 6 7 8 9",
            "41111111",
            "x41111111111111111111111111",
        ] {
            check(text, false, cards);
        }
        check("<411111>", true, cards);
        check("200 411111 x", true, cards);
    }

    #[test]
    fn addresses_are_found() {
        for text in [
            "to <ann.b+c@mail.example.org>, x",
            "m=<ann%40example.org>&x",
            "\\\"<ann\\u0040example.org>\\\"",
            "@decorator a@b @",
            "<a@b>",
            "<50%40>",
        ] {
            check(text, false, addresses);
        }
        check("x <ann.lee>", true, addresses);
    }
}
