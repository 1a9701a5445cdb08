//! Objects: a JSON document, or several, whose items are told one by one.

use std::fmt;
use std::io::{self, BufRead};
use std::marker::PhantomData;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Visitor, value::MapAccessDeserializer,
};
use serde_json::{Map, Value};

use super::ReadError;

/// Tells the items of each document: of an array, or of the array under `list` in an object. An object
/// without such a list is an item itself.
pub(super) fn each<T: DeserializeOwned>(
    input: &mut dyn BufRead,
    list: Option<&'static str>,
    take: &mut dyn FnMut(T) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    while has_more(input)? {
        let mut stopped = None;
        let items = Items { list, take: &mut *take, stopped: &mut stopped, item: PhantomData };
        // An array or object ends with its bracket: nothing behind it is taken from the input.
        let read = items.deserialize(&mut serde_json::Deserializer::from_reader(&mut *input));
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        read?;
    }
    Ok(())
}

/// Skips white space; whether anything comes behind it.
fn has_more(input: &mut dyn BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let (is_end, is_blank) = (bytes.is_empty(), blank == bytes.len());
        input.consume(blank);
        if is_end || !is_blank {
            return Ok(!is_end);
        }
    }
}

struct Items<'a, T> {
    list: Option<&'static str>,
    take: &'a mut dyn FnMut(T) -> Result<(), ReadError>,
    stopped: &'a mut Option<ReadError>,
    item: PhantomData<T>,
}

impl<T> Items<'_, T> {
    fn give<E: Error>(&mut self, item: T) -> Result<(), E> {
        (self.take)(item).map_err(|error| {
            *self.stopped = Some(error);
            E::custom("stopped")
        })
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Items<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Items<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            self.give(item)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Some(list) = self.list else {
            let item = T::deserialize(MapAccessDeserializer::new(map))?;
            return self.give(item);
        };
        let (mut others, mut is_item) = (Map::new(), true);
        while let Some(key) = map.next_key::<String>()? {
            if key == list {
                is_item = false;
                others.clear();
                let Self { take, stopped, .. } = &mut self;
                let items = Items { list: None, take: &mut **take, stopped, item: PhantomData };
                map.next_value_seed(items)?;
            } else if is_item {
                others.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if is_item {
            let item = T::deserialize(Value::Object(others)).map_err(A::Error::custom)?;
            self.give(item)?;
        }
        Ok(())
    }
}
