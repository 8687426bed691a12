//! Hand-made streams: one for each rule of the filter. Random ones are in `tests/authority_filter.rs`.

use super::*;

const NAME: &[u8] = b":authority";
const END_HEADERS: u8 = FLAG_END_HEADERS;
/// ":authority" without indexing, name from the static table.
const STATIC_NAME: u8 = 0x01;
/// Literal with incremental indexing, name spelled out: what C-core sends.
const NEW_NAME_INDEXED: u8 = 0x40;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(TYPE_HEADERS, END_HEADERS, 1, block)
}

fn string(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

fn coded(bytes: &[u8]) -> Vec<u8> {
    [&[0x80 | u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// Feeds the preface and `frames`, whole and byte by byte; returns what becomes of `frames`.
fn filtered(frames: &[u8]) -> Vec<u8> {
    let stream = [PREFACE.as_slice(), frames].concat();
    let mut whole = stream.clone();
    AuthorityFilter::new().feed(&mut whole);
    let mut bytewise = stream;
    let mut filter = AuthorityFilter::new();
    bytewise.chunks_mut(1).for_each(|chunk| filter.feed(chunk));
    assert_eq!(whole, bytewise, "the result depends on the chunks");
    assert!(whole.starts_with(PREFACE));
    whole.split_off(PREFACE.len())
}

/// The filter turns `block` into `expected` when it is the payload of one HEADERS frame.
#[track_caller]
fn assert_block(block: &[u8], expected: &[u8]) {
    assert_eq!(filtered(&headers(block)), headers(expected));
}

#[track_caller]
fn assert_untouched(frames: &[u8]) {
    assert_eq!(filtered(frames), frames);
}

fn literal(first: &[u8], value: &[u8]) -> Vec<u8> {
    [first, &string(value)].concat()
}

#[test]
fn rewrites_each_kind_of_literal() {
    for kind in [0x00, 0x10, 0x40] {
        let by_index = [kind | STATIC_NAME];
        assert_block(
            &literal(&by_index, b"tmp%2Fs"),
            &literal(&by_index, b"tmp-2Fs"),
        );
        let plain_name = [&[kind][..], &string(NAME)].concat();
        assert_block(
            &literal(&plain_name, b"tmp%2Fs"),
            &literal(&plain_name, b"tmp-2Fs"),
        );
        let coded_name = [
            &[kind][..],
            &coded(&[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f]),
        ]
        .concat();
        assert_block(
            &literal(&coded_name, b"tmp%2Fs"),
            &literal(&coded_name, b"tmp-2Fs"),
        );
    }
}

#[test]
fn keeps_letters_digits_dots_and_dashes_only() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let wanted = |byte: &u8| {
        if b"-.".contains(byte) || byte.is_ascii_alphanumeric() {
            *byte
        } else {
            b'-'
        }
    };
    for part in all.chunks(100) {
        let clean: Vec<u8> = part.iter().map(wanted).collect();
        assert_block(
            &literal(&[STATIC_NAME], part),
            &literal(&[STATIC_NAME], &clean),
        );
    }
}

#[test]
fn leaves_other_fields_alone() {
    let fields = [
        literal(&[0x04], b"/a%2F"),
        [&[0x40][..], &string(b":authoritx"), &string(b"a%2F")].concat(),
        [&[0x40][..], &string(b":authorit"), &string(b"a%2F")].concat(),
        [&[0x40][..], &string(b":authority2"), &string(b"a%2F")].concat(),
        [&[0x40][..], &string(b""), &string(b"a%2F")].concat(),
        vec![0x83, 0x86],
        // The name as a value, then a table size update (4096).
        [
            &[0x40][..],
            &string(b"x"),
            &string(NAME),
            &[0x3f, 0xe1, 0x1f],
        ]
        .concat(),
    ];
    assert_untouched(&headers(&fields.concat()));
}

#[test]
fn reads_integers_of_any_length() {
    let value = [b'%'; 300];
    let clean = [b'-'; 300];
    // 300 = 127 + 173, in two digits, then with superfluous zeros.
    for length in [
        &[0x7f, 0xad, 0x01][..],
        &[0x7f, 0xad, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    ] {
        let block = |value: &[u8]| [&[STATIC_NAME], length, value].concat();
        assert_block(&block(&value), &block(&clean));
    }
    // Static index 1 cannot need more than its prefix, but index 15 with four bits does.
    let other = [&[0x0f, 0x00][..], &string(b"%")].concat();
    assert_untouched(&headers(&other));
}

#[test]
fn a_length_beyond_all_bounds_ends_the_work() {
    let too_long = [
        &[STATIC_NAME, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        b"%%%%",
    ]
    .concat();
    assert_untouched(&headers(&too_long));
}

#[test]
fn finds_names_in_the_dynamic_table() {
    let insert_other = literal(&[0x42], b"PUT");
    let insert_authority = |value: &[u8]| literal(&[NEW_NAME_INDEXED | STATIC_NAME], value);
    let by_name = |index: u8, value: &[u8]| literal(&[0x40 | index], value);
    let block = |a: &[u8], b: &[u8], c: &[u8]| {
        // After two insertions the authority is at 63 (0x3f needs a second byte: 63 = 63 + 0).
        [
            insert_authority(a),
            insert_other.clone(),
            [&[0x7f, 0x00][..], &string(b)].concat(),
            // Which was inserted in turn, and is at 62 now.
            by_name(62, c),
            insert_other.clone(),
            // At 62 is ":method".
            by_name(62, b"%"),
        ]
        .concat()
    };
    assert_block(&block(b"a%", b"b%", b"c%"), &block(b"a-", b"b-", b"c-"));
}

#[test]
fn remembers_as_many_names_as_the_default_table_holds() {
    let block = |value: &[u8]| {
        let mut block = literal(&[0x41], b"");
        block.extend(literal(&[0x42], b"").repeat(127));
        // 189 = 62 + 127, without indexing: 15 + 46 + 128.
        block.extend(literal(&[0x0f, 0xae, 0x01], value));
        // One further: evicted from any table of the default size.
        block.extend(literal(&[0x0f, 0xaf, 0x01], b"%"));
        block
    };
    assert_block(&block(b"%"), &block(b"-"));
}

#[test]
fn a_field_that_is_not_inserted_moves_no_index() {
    let block = |value: &[u8]| {
        [
            literal(&[0x41], b"a"),
            literal(&[0x02], b"PUT"),
            literal(&[0x12], b"PUT"),
            literal(&[0x0f, 47], value),
        ]
        .concat()
    };
    assert_block(&block(b"%"), &block(b"-"));
}

#[test]
fn swaps_huffman_codes_of_equal_length_only() {
    // "a%2F/x z" and "a-2F3x-z": 00011 010101 00010 1100011 011000 1111001 010100 1111011.
    let before = [0x1a, 0xa2, 0xc6, 0xc7, 0x95, 0x3d, 0xff];
    let after = [0x1a, 0xc2, 0xc6, 0xcf, 0x95, 0xbd, 0xff];
    let block = |bytes: &[u8]| [&[STATIC_NAME][..], &coded(bytes)].concat();
    assert_block(&block(&before), &block(&after));
}

#[test]
fn a_coded_value_may_hold_the_bytes_of_unwanted_characters() {
    // "cm8" is 00100 101001 011110, and the bytes of "%/" stand at its head.
    let block = [&[STATIC_NAME][..], &coded(b"%/\x7f")].concat();
    assert_untouched(&headers(&block));
}

#[test]
fn a_string_that_is_no_huffman_code_ends_the_work() {
    let percent = literal(&[STATIC_NAME], b"%");
    for bad in [
        // EOS.
        &[0xff, 0xff, 0xff, 0xff][..],
        // Padding of eight bits.
        &[0x1f, 0xff],
        // Padding that is not ones.
        &[0x18],
    ] {
        let block = [&[STATIC_NAME][..], &coded(bad), &percent].concat();
        assert_untouched(&headers(&block));
    }
}

#[test]
fn knows_padding_priority_and_continuation() {
    let value = |text: &[u8]| literal(&[STATIC_NAME], text);
    let stream = |text: &[u8]| {
        let block = value(text);
        let (first, rest) = block.split_at(4);
        let (second, third) = rest.split_at(1);
        let padded = [&[3], &[0, 0, 0, 0, 9][..], first, b"%%%"].concat();
        [
            frame(0x4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            frame(TYPE_HEADERS, FLAG_PADDED | FLAG_PRIORITY, 1, &padded),
            frame(TYPE_CONTINUATION, 0, 1, b""),
            // These two flags mean nothing here.
            frame(TYPE_CONTINUATION, FLAG_PADDED | FLAG_PRIORITY, 1, second),
            frame(TYPE_CONTINUATION, END_HEADERS, 1, third),
            frame(0x0, 0, 1, b"\x01\x04%%%%%"),
            frame(
                TYPE_HEADERS,
                END_HEADERS | FLAG_PRIORITY,
                3,
                &[&[0, 0, 0, 0, 9], &block[..]].concat(),
            ),
            frame(
                TYPE_HEADERS,
                END_HEADERS | FLAG_PADDED,
                5,
                &[&[0], &block[..]].concat(),
            ),
            // Nothing but padding.
            frame(TYPE_HEADERS, END_HEADERS | FLAG_PADDED, 7, &[2, b'%', b'%']),
            frame(TYPE_HEADERS, END_HEADERS, 9, b""),
            headers(&block),
        ]
        .concat()
    };
    assert_eq!(filtered(&stream(b"a%/b%")), stream(b"a--b-"));
}

#[test]
fn the_reserved_bit_of_a_stream_id_means_nothing() {
    let stream = |text: &[u8]| {
        let block = literal(&[STATIC_NAME], text);
        [
            frame(TYPE_HEADERS, 0, 1, &block),
            frame(TYPE_CONTINUATION, END_HEADERS, 0x8000_0001, &block),
        ]
        .concat()
    };
    assert_eq!(filtered(&stream(b"%")), stream(b"-"));
}

#[test]
fn a_stream_that_breaks_the_protocol_is_let_through() {
    let block = literal(&[STATIC_NAME], b"%");
    for broken in [
        frame(TYPE_CONTINUATION, END_HEADERS, 1, b""),
        [frame(TYPE_HEADERS, 0, 1, b""), frame(0x6, 0, 0, &[0; 8])].concat(),
        [
            frame(TYPE_HEADERS, 0, 1, b""),
            frame(TYPE_CONTINUATION, END_HEADERS, 3, b""),
        ]
        .concat(),
        [frame(TYPE_HEADERS, 0, 1, b""), headers(b"")].concat(),
        // More padding than payload.
        frame(TYPE_HEADERS, END_HEADERS | FLAG_PADDED, 1, &[2, 0]),
        frame(TYPE_HEADERS, END_HEADERS | FLAG_PADDED, 1, b""),
        frame(TYPE_HEADERS, END_HEADERS | FLAG_PRIORITY, 1, &[0; 4]),
        // A block that ends inside of a field.
        headers(&[STATIC_NAME, 5]),
        // Index 0.
        headers(&[0x80]),
    ] {
        assert_untouched(&[broken, headers(&block)].concat());
    }
}

#[test]
fn what_is_not_http2_is_let_through() {
    let mut stream = [
        &PREFACE[..23],
        b"\r",
        &headers(&literal(&[STATIC_NAME], b"%")),
    ]
    .concat();
    let before = stream.clone();
    AuthorityFilter::new().feed(&mut stream);
    assert_eq!(stream, before);
}
