//! BER as LDAP uses it (RFC 4511 §5.1): tags of one byte, definite lengths.

/// An element at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// Bytes of tag and length.
    pub(super) header: usize,
    /// Bytes of the content.
    pub(super) len: u64,
    /// What is there of the content.
    pub(super) content: &'a [u8],
}

/// What the front of some bytes is.
pub(super) enum Front<'a> {
    Element(Element<'a>),
    /// Tag or length are cut off.
    More,
    Bad,
}

/// Reads tag and length; the content may be cut off.
pub(super) fn read(bytes: &[u8]) -> Front<'_> {
    let [tag, first, ..] = *bytes else { return Front::More };
    let (header, len) = match first {
        0..=0x7f => (2, u64::from(first)),
        0x81..=0x84 => {
            let octets = usize::from(first & 0x7f);
            let Some(octets) = bytes.get(2..2 + octets) else { return Front::More };
            let len = octets.iter().fold(0u64, |len, octet| len << 8 | u64::from(*octet));
            (2 + octets.len(), len)
        }
        // Indefinite, or too long to be believed.
        _ => return Front::Bad,
    };
    let rest = &bytes[header..];
    let content = &rest[..usize::try_from(len).map_or(rest.len(), |len| len.min(rest.len()))];
    Front::Element(Element { tag, header, len, content })
}

/// The elements one after the other, as far as they are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let Front::Element(element) = read(self.0) else {
            self.0 = &[];
            return None;
        };
        self.0 = &self.0[element.header + element.content.len()..];
        Some(element)
    }
}

impl Element<'_> {
    /// A whole number that is not negative, of at most four bytes.
    pub(super) fn number(&self) -> Option<u32> {
        let is_number = (1..=5).contains(&self.content.len())
            && self.len == self.content.len() as u64
            && self.content[0] < 0x80;
        let number =
            self.content.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
        is_number.then(|| u32::try_from(number).ok()).flatten()
    }

    /// The content as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.content).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_both_forms() {
        for (bytes, header, len) in [
            (&b"\x30\x03abc"[..], 2, 3),
            (b"\x30\x81\x80a", 3, 128),
            (b"\x30\x84\0\0\0\x05a", 6, 5),
        ] {
            let Front::Element(element) = read(bytes) else { panic!() };
            assert_eq!((element.header, element.len), (header, len));
        }
        assert!(matches!(read(b"\x30\x84\0\0"), Front::More));
        assert!(matches!(read(b"\x30\x80"), Front::Bad));
        assert_eq!(
            Elements(b"\x02\x01\x05\x02\x02\x01\0").filter_map(|e| e.number()).sum::<u32>(),
            261
        );
        assert_eq!(Elements(b"\x02\x01\xff").find_map(|e| e.number()), None);
    }
}
