//! Properties of the `:authority` filter, held against HPACK encoders and a decoder of others.

#![expect(
    clippy::unwrap_used,
    reason = "helper functions of tests fail by panicking, as the tests do"
)]

use fluke_hpack::Decoder;
use httlib_hpack::Encoder;
use proptest::{collection::vec, prelude::*, sample::Index};
use rigd::transport::authority::AuthorityFilter;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const AUTHORITY: &[u8] = b":authority";
const FIRST_DYNAMIC: u32 = 62;

type Header = (Vec<u8>, Vec<u8>);

/// One field, as an encoder may choose to write it.
#[derive(Clone, Debug)]
struct Field {
    name: Name,
    value: Vec<u8>,
    /// With incremental indexing, without, or never.
    kind: u8,
    coded_name: bool,
    coded_value: bool,
}

#[derive(Clone, Debug)]
enum Name {
    Spelled(Vec<u8>),
    Static(u32),
    /// The name of the n-th newest entry of the dynamic table, if there is one.
    Dynamic(usize),
    /// All of that entry, value included.
    WholeEntry(u32),
}

impl Field {
    /// A block must not end with a table size update, so a field has to follow it.
    fn is_always_written(&self) -> bool {
        matches!(self.name, Name::Spelled(_) | Name::Static(_))
    }
}

/// One header list and how it is cut into frames.
#[derive(Clone, Debug)]
struct Block {
    table_size: Option<u32>,
    fields: Vec<Field>,
    cuts: Vec<Index>,
    padding: Option<u8>,
    priority: bool,
    data_before: Vec<u8>,
}

/// Writes blocks with one coding for all authorities, so that the outcome is known.
struct Writer {
    encoder: Encoder<'static>,
    /// Names of the dynamic table, newest last.
    names: Vec<Vec<u8>>,
    coded_authority: bool,
    stream: Vec<u8>,
}

impl Writer {
    fn stream(blocks: &[Block], coded_authority: bool) -> Vec<u8> {
        let mut writer = Self {
            encoder: Encoder::default(),
            names: Vec::new(),
            coded_authority,
            stream: PREFACE.to_vec(),
        };
        writer.frame(0x4, 0, 0, &[]);
        for (number, block) in (1..).step_by(2).zip(blocks) {
            writer.frame(0x0, 0, 1, &block.data_before);
            let bytes = writer.encode(block);
            writer.block(number, block, &bytes);
        }
        writer.stream
    }

    fn encode(&mut self, block: &Block) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(size) = block.table_size {
            self.encoder
                .update_max_dynamic_size(size, &mut out)
                .unwrap();
        }
        block
            .fields
            .iter()
            .for_each(|field| self.field(field, &mut out));
        out
    }

    fn field(&mut self, field: &Field, out: &mut Vec<u8>) {
        let value = field.value.clone();
        let name = match &field.name {
            Name::Spelled(name) => Some(name.clone()),
            Name::Static(1) => Some(AUTHORITY.to_vec()),
            Name::Static(_) => Some(b"any other".to_vec()),
            Name::Dynamic(age) => self.names.iter().nth_back(*age).cloned(),
            Name::WholeEntry(_) => None,
        };
        let is_authority = name.as_deref() == Some(AUTHORITY);
        let coded = if is_authority {
            self.coded_authority
        } else {
            field.coded_value
        };
        let mut flags = field.kind;
        flags |= if coded { Encoder::HUFFMAN_VALUE } else { 0 };
        flags |= if field.coded_name {
            Encoder::HUFFMAN_NAME
        } else {
            0
        };
        // An index whose entry was evicted is an error, and nothing is written.
        let written = match &field.name {
            Name::Spelled(name) => self.encoder.encode_literal(name.clone(), value, flags, out),
            Name::Static(index) => self.encoder.encode_indexed_name(*index, value, flags, out),
            Name::Dynamic(age) => {
                let index = FIRST_DYNAMIC + u32::try_from(*age).unwrap();
                self.encoder.encode_indexed_name(index, value, flags, out)
            }
            Name::WholeEntry(age) => self.encoder.encode_indexed(FIRST_DYNAMIC + age, out),
        };
        if written.is_ok() && field.kind == Encoder::WITH_INDEXING {
            self.names.extend(name);
        }
    }

    fn block(&mut self, stream: u32, block: &Block, bytes: &[u8]) {
        let mut cuts: Vec<usize> = block
            .cuts
            .iter()
            .map(|i| i.index(bytes.len() + 1))
            .collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut payload = Vec::new();
        payload.extend(block.padding);
        payload.extend(if block.priority {
            &[0, 0, 0, 0, 7][..]
        } else {
            &[]
        });
        payload.extend(&bytes[..cuts[0]]);
        payload.extend(vec![b'%'; block.padding.unwrap_or_default().into()]);
        let mut flags = if cuts.len() == 1 { 0x4 } else { 0 };
        flags |= if block.padding.is_some() { 0x8 } else { 0 };
        flags |= if block.priority { 0x20 } else { 0 };
        self.frame(0x1, flags, stream, &payload);
        for (n, pair) in cuts.windows(2).enumerate() {
            let ends = n + 2 == cuts.len();
            self.frame(
                0x9,
                if ends { 0x4 } else { 0 },
                stream,
                &bytes[pair[0]..pair[1]],
            );
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.stream
            .extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        self.stream.extend([kind, flags]);
        self.stream.extend(stream.to_be_bytes());
        self.stream.extend(payload);
    }
}

/// What a receiver makes of a stream.
struct Received {
    headers: Vec<Vec<Header>>,
    /// Every byte that is not part of a field block.
    others: Vec<u8>,
}

fn receive(stream: &[u8]) -> Received {
    let (preface, mut rest) = stream.split_at(PREFACE.len());
    let mut received = Received {
        headers: Vec::new(),
        others: preface.to_vec(),
    };
    let mut decoder = Decoder::new();
    let mut block = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, after) = after.split_at(length);
        rest = after;
        received.others.extend(head);
        let (kind, flags) = (head[3], head[4]);
        if kind != 0x1 && kind != 0x9 {
            received.others.extend(payload);
            continue;
        }
        let padded = flags & 0x8 != 0;
        let start = usize::from(padded) + if flags & 0x20 != 0 { 5 } else { 0 };
        let end = length - if padded { usize::from(payload[0]) } else { 0 };
        received.others.extend(&payload[..start]);
        block.extend(&payload[start..end]);
        received.others.extend(&payload[end..]);
        if flags & 0x4 != 0 {
            received.headers.push(decoder.decode(&block).unwrap());
            block.clear();
        }
    }
    received
}

fn filtered(stream: &[u8], chunks: &[usize]) -> Vec<u8> {
    let mut out = stream.to_vec();
    let mut filter = AuthorityFilter::new();
    let mut rest = &mut out[..];
    for size in chunks.iter().cycle() {
        let (chunk, after) = rest.split_at_mut((*size).min(rest.len()));
        filter.feed(chunk);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    out
}

fn expected((name, value): &Header, coded: bool) -> Header {
    let replaced = |byte: &u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'.' | b'-' => *byte,
        b'%' | b' ' => b'-',
        b'/' if coded => b'3',
        other if coded => *other,
        _ => b'-',
    };
    let is_authority = name == AUTHORITY;
    let value = if is_authority {
        value.iter().map(replaced).collect()
    } else {
        value.clone()
    };
    (name.clone(), value)
}

fn assert_only_authorities_differ(stream: &[u8], coded: bool, chunks: &[usize]) {
    let out = filtered(stream, chunks);
    assert_eq!(out.len(), stream.len());
    let (before, after) = (receive(stream), receive(&out));
    assert_eq!(before.others, after.others);
    let wanted: Vec<Vec<Header>> = before
        .headers
        .iter()
        .map(|list| list.iter().map(|header| expected(header, coded)).collect())
        .collect();
    assert_eq!(after.headers, wanted);
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "tmp(%2F[a-z]{1,8}){1,4}".prop_map(String::into_bytes),
        4 => "[ -~]{0,40}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 100..600),
        // Does not fit into the table, and so empties it.
        1 => vec(any::<u8>(), 4060..4070),
    ]
}

fn field() -> impl Strategy<Value = Field> {
    let name = prop_oneof![
        Just(Name::Spelled(AUTHORITY.to_vec())),
        "[a-z-]{1,12}".prop_map(|name| Name::Spelled(name.into_bytes())),
        Just(Name::Static(1)),
        (1..=61u32).prop_map(Name::Static),
        (0..6usize).prop_map(Name::Dynamic),
        (0..130usize).prop_map(Name::Dynamic),
        (0..6u32).prop_map(Name::WholeEntry),
    ];
    let kind = prop_oneof![
        Just(0),
        Just(Encoder::WITH_INDEXING),
        Just(Encoder::NEVER_INDEXED)
    ];
    (name, value(), kind, any::<bool>(), any::<bool>()).prop_map(
        |(name, value, kind, coded_name, coded_value)| Field {
            name,
            value,
            kind,
            coded_name,
            coded_value,
        },
    )
}

fn block() -> impl Strategy<Value = Block> {
    (
        proptest::option::weighted(0.1, 0..=4096u32),
        vec(field(), 0..12),
        vec(any::<Index>(), 0..4),
        any::<Option<u8>>(),
        any::<bool>(),
        vec(any::<u8>(), 0..30),
    )
        .prop_map(
            |(table_size, fields, cuts, padding, priority, data_before)| Block {
                table_size: table_size
                    .filter(|_| fields.first().is_some_and(Field::is_always_written)),
                fields,
                cuts,
                padding,
                priority,
                data_before,
            },
        )
}

fn chunks() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![Just(1), 1..20usize, 1..5000usize], 1..20)
}

proptest! {
    #[test]
    fn only_authorities_differ(
        blocks in vec(block(), 1..6),
        coded_authority: bool,
        chunks in chunks(),
    ) {
        let stream = Writer::stream(&blocks, coded_authority);
        assert_only_authorities_differ(&stream, coded_authority, &chunks);
    }

    /// An encoder that chooses on its own what to index; it never Huffman-codes.
    #[test]
    fn only_authorities_differ_with_an_indexing_encoder(
        lists in vec(vec((0..4usize, value()), 1..8), 1..8),
        chunks in chunks(),
    ) {
        let names = [AUTHORITY, b":path", b"content-type", b"x-board"];
        let mut encoder = fluke_hpack::Encoder::new();
        let mut writer = Writer {
            encoder: Encoder::default(),
            names: Vec::new(),
            coded_authority: false,
            stream: PREFACE.to_vec(),
        };
        for list in &lists {
            let bytes = encoder.encode(list.iter().map(|(n, value)| (names[*n], &value[..])));
            writer.frame(0x1, 0x4, 1, &bytes);
        }
        assert_only_authorities_differ(&writer.stream, false, &chunks);
    }

    /// Valid streams with a few bytes changed: no panic, and chunks make no difference.
    #[test]
    fn broken_streams_are_harmless(
        blocks in vec(block(), 1..4),
        coded_authority: bool,
        changes in vec((any::<Index>(), any::<u8>()), 1..6),
        chunks in chunks(),
    ) {
        let mut stream = Writer::stream(&blocks, coded_authority);
        for (place, byte) in changes {
            *place.get_mut(&mut stream) = byte;
        }
        prop_assert_eq!(filtered(&stream, &chunks), filtered(&stream, &[stream.len()]));
    }

    #[test]
    fn arbitrary_frames_are_harmless(bytes in vec(any::<u8>(), 0..400), chunks in chunks()) {
        let stream = [PREFACE, &bytes].concat();
        prop_assert_eq!(filtered(&stream, &chunks), filtered(&stream, &[stream.len()]));
    }

    #[test]
    fn arbitrary_fields_are_harmless(bytes in vec(any::<u8>(), 0..200), chunks in chunks()) {
        let head = [0, 0, u8::try_from(bytes.len()).unwrap(), 0x1, 0x4, 0, 0, 0, 1];
        let stream = [PREFACE, &head, &bytes].concat();
        prop_assert_eq!(filtered(&stream, &chunks), filtered(&stream, &[stream.len()]));
    }

    #[test]
    fn without_the_preface_nothing_is_touched(
        kept in 0..PREFACE.len(),
        wrong: u8,
        blocks in vec(block(), 1..3),
        chunks in chunks(),
    ) {
        prop_assume!(wrong != PREFACE[kept]);
        let mut stream = Writer::stream(&blocks, false);
        stream[kept] = wrong;
        prop_assert_eq!(filtered(&stream, &chunks), stream);
    }
}
