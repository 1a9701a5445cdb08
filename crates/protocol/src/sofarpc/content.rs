//! Content of a `SofaResponse` in Hessian, as far as it tells what went wrong.

use deeptrace_model::Text;

use crate::reader::Reader;
use crate::remote_call::{self, is_name};

/// What went wrong, of a `SofaResponse` that says so: it is an error with a text, or it holds an
/// exception. Its first fields are `isError`, `errorMsg`, `appResponse`.
pub(super) fn failure(content: &[u8]) -> Option<(Text, Option<String>)> {
    let mut reader = Reader::new(content);
    let (_, fields) = definition(&mut reader)?;
    if fields != [&b"isError"[..], b"errorMsg"] {
        return None;
    }
    match reader.u8()? {
        b'T' => {
            let text = hessian_text(&mut reader).map(remote_call::message);
            Some((Text::new_static("SOFA_ERROR"), text))
        }
        b'F' if reader.u8()? == b'N' => {
            let (class, fields) = definition(&mut reader)?;
            let text = match fields[0] {
                b"detailMessage" => hessian_text(&mut reader).map(remote_call::message),
                _ => None,
            };
            is_name(class).then(|| (String::from_utf8_lossy(class).into(), text))
        }
        _ => None,
    }
}

/// Hessian as SOFA writes an object of a new class: `O`, the class, how many fields and their names;
/// `o`, the number of the class. Returns the class and the first two fields.
fn definition<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], [&'a [u8]; 2])> {
    let mut names = [&b""[..]; 2];
    if reader.u8()? != b'O' {
        return None;
    }
    let len = small(reader.u8()?)?;
    let class = reader.take(len)?;
    for index in 0..small(reader.u8()?)? {
        let len = usize::from(reader.u8()?);
        let name = reader.take(len)?;
        if let Some(place) = names.get_mut(index) {
            *place = name;
        }
    }
    let is_object = reader.u8()? == b'o' && small(reader.u8()?).is_some();
    is_object.then_some((class, names))
}

/// A text, or what is there of it.
fn hessian_text<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = match reader.u8()? {
        len @ 0..=0x1f => usize::from(len),
        b'S' => usize::from(reader.u16()?),
        _ => return None,
    };
    let rest = reader.rest();
    Some(&rest[..rest.len().min(len)])
}

/// A number of one byte, 0 to 47.
fn small(byte: u8) -> Option<usize> {
    (0x90..=0xbf).contains(&byte).then(|| usize::from(byte - 0x90))
}
