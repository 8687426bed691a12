//! The part of BER (X.690) that SNMP uses: definite lengths, one-byte tags.

/// Tags.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// A tag, its length and its content.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight bytes of length.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            out.extend(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// One TLV of several.
pub(super) fn list(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(tag, &parts.concat())
}

/// An INTEGER in as few bytes as it takes.
pub(super) fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let redundant = |pair: &[u8]| {
        (pair[0] == 0 && pair[1] & 0x80 == 0) || (pair[0] == 0xff && pair[1] & 0x80 != 0)
    };
    let skip = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    tlv(INTEGER, &bytes[skip..])
}

/// An OBJECT IDENTIFIER; at least two numbers.
pub(super) fn oid(numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    if let [first, second, rest @ ..] = numbers {
        base128(first * 40 + second, &mut out);
        rest.iter().for_each(|number| base128(*number, &mut out));
    }
    tlv(OID, &out)
}

fn base128(number: u32, out: &mut Vec<u8>) {
    for shift in [28, 21, 14, 7] {
        if number >> shift > 0 {
            out.push(0x80 | u8::try_from(number >> shift & 0x7f).unwrap_or_default());
        }
    }
    out.push(u8::try_from(number & 0x7f).unwrap_or_default());
}

/// Reads TLVs off the front of some bytes; `None` where they are not what is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next one, whatever its tag.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            // A datagram has less than 64 KiB; longer lengths are nonsense.
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 3 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next one, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// What is inside of the next one.
    pub(super) fn inside(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(Reader)
    }

    /// The next one, an INTEGER.
    pub(super) fn integer(&mut self) -> Option<i64> {
        int(self.expect(INTEGER)?)
    }
}

/// The content of an INTEGER.
pub(super) fn int(content: &[u8]) -> Option<i64> {
    let (&first, rest) = content.split_first()?;
    if rest.len() > 7 {
        return None;
    }
    let start = i64::from(first.cast_signed());
    Some(
        rest.iter()
            .fold(start, |sum, byte| sum << 8 | i64::from(*byte)),
    )
}

/// `1.3.6.1` as numbers.
pub(super) fn parse_oid(text: &str) -> Option<Vec<u32>> {
    let words = text.strip_prefix('.').unwrap_or(text).split('.');
    let numbers: Option<Vec<u32>> = words.map(|word| word.parse().ok()).collect();
    let numbers = numbers?;
    let right = matches!(numbers[..], [0..=1, 0..=39, ..] | [2, 0..=0xffff, ..]);
    // RFC 3416 allows 128.
    (right && numbers.len() < 128).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let cases: [(i64, &[u8]); 8] = [
            (0, &[2, 1, 0]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 255]),
            (-128, &[2, 1, 128]),
            (-129, &[2, 2, 255, 127]),
            (65507, &[2, 3, 0, 255, 227]),
            (2_147_483_647, &[2, 4, 127, 255, 255, 255]),
        ];
        for (value, bytes) in cases {
            assert_eq!(integer(value), bytes);
            assert_eq!(Reader(bytes).integer(), Some(value));
        }
        assert_eq!(int(&[]), None);
        assert_eq!(int(&[0; 9]), None);
    }

    #[test]
    fn identifiers() {
        let raritan = parse_oid("1.3.6.1.4.1.13742.6").unwrap();
        assert_eq!(oid(&raritan), [6, 8, 0x2b, 6, 1, 4, 1, 0xeb, 0x2e, 6]);
        assert_eq!(
            oid(&[2, 999, u32::MAX]),
            [6, 7, 0x88, 0x37, 0x8f, 0xff, 0xff, 0xff, 0x7f]
        );
        assert_eq!(parse_oid(".1.3"), Some(vec![1, 3]));
        for wrong in ["", "1", "1.40", "3.1", "1.3.x", "1..3", "1.3.4294967296"] {
            assert_eq!(parse_oid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths() {
        for length in [0, 127, 128, 255, 256, 65535] {
            let whole = tlv(OCTETS, &vec![7; length]);
            let mut reader = Reader(&whole);
            assert_eq!(reader.expect(OCTETS).unwrap().len(), length);
            assert!(reader.0.is_empty());
            // Whatever is cut off is no TLV any more.
            for cut in 0..whole.len().min(200) {
                assert_eq!(Reader(&whole[..cut]).any(), None);
            }
        }
        for wrong in [
            &[4_u8, 0x80, 0, 0][..],
            &[4, 0x84, 0, 0, 0, 1, 9],
            &[4, 0x83, 255, 255, 255],
        ] {
            assert_eq!(Reader(wrong).any(), None);
        }
    }
}
