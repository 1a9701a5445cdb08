//! Columns: how a list of numbers is laid out so that it compresses.

/// Random numbers, eight bytes each: a varint would take ten.
pub(crate) mod fixed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(numbers: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(D::Error::custom("a column of eight-byte numbers has a broken length"));
        }
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

/// Numbers that are near their predecessors: the differences, which may be negative.
pub(crate) mod delta {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(numbers: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let mut last = 0_u64;
        let difference = |number: &u64| {
            let difference = number.wrapping_sub(last) as i64;
            last = *number;
            difference
        };
        numbers.iter().map(difference).collect::<Vec<i64>>().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let mut last = 0_u64;
        let number = |difference: i64| {
            last = last.wrapping_add(difference as u64);
            last
        };
        Ok(Vec::<i64>::deserialize(from)?.into_iter().map(number).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super::fixed")]
        fixed: Vec<u64>,
        #[serde(with = "super::delta")]
        delta: Vec<u64>,
    }

    #[test]
    fn columns_come_back() {
        for numbers in [vec![], vec![0], vec![u64::MAX, 0, 1, u64::MAX - 1, 1 << 63], vec![7; 9]] {
            let both = Both { fixed: numbers.clone(), delta: numbers };
            let bytes = postcard::to_stdvec(&both).unwrap();
            assert_eq!(postcard::from_bytes::<Both>(&bytes).unwrap(), both);
        }
    }
}
