//! A secret in every form in which it might leave.

use memchr::memmem::Finder;

/// Finders of one secret.
pub struct Needle {
    forms: Vec<(&'static str, Finder<'static>)>,
}

impl Needle {
    pub fn new(secret: &[u8]) -> Self {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
        let some: String = secret
            .iter()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(*byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
        let mut forms = vec![
            ("as it is", secret.to_vec()),
            ("hex", hex.to_uppercase().into_bytes()),
            ("hex", hex.into_bytes()),
            ("URL", percent.into_bytes()),
            ("URL", some.into_bytes()),
            ("numbers", numbers.join(",").into_bytes()),
        ];
        forms.extend((0..3).map(|shift| ("base64", inner_base64(secret, shift))));
        let forms = forms.into_iter();
        Self { forms: forms.map(|form| (form.0, Finder::new(&form.1).into_owned())).collect() }
    }

    /// The form in which it is in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        self.forms.iter().find(|form| form.1.find(bytes).is_some()).map(|form| form.0)
    }
}

/// The digits of base64 that `secret` alone decides where `shift` bytes are before it.
fn inner_base64(secret: &[u8], shift: usize) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> =
        secret.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let before = (6 - shift * 8 % 6) % 6;
    let digit = |six: &[bool]| six.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit));
    bits[before..].chunks_exact(6).map(|six| DIGITS[digit(six)]).collect()
}

#[test]
fn every_form_is_found() {
    let needle = Needle::new(b"hunter2");
    for (text, form) in [
        ("a hunter2 b", "as it is"),
        ("68756e74657232", "hex"),
        ("%68%75%6E%74%65%72%32", "URL"),
        ("[104,117,110,116,101,114,50]", "numbers"),
        ("aHVudGVyMg==", "base64"),
        ("eGh1bnRlcjI=", "base64"),
        ("eHhodW50ZXIyeA==", "base64"),
    ] {
        assert_eq!(needle.find(text.as_bytes()), Some(form), "{text}");
    }
    assert_eq!(needle.find(b"hunter3"), None);
}
