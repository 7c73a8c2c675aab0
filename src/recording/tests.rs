//! Recordings as other programs write them (`tests/data/recordings`), and as they should not be.

use super::*;
use crate::base::pcm16;
use proptest::prelude::*;

/// A plain sound: values that every mistake of a byte would change.
fn values() -> Vec<i16> {
    (0..100i32)
        .map(|n| (n * 7_919 % 65_536 - 32_768) as i16)
        .collect()
}

fn plain() -> Vec<u8> {
    pcm16::bytes(&values())
}

fn chunk(id: &[u8; 4], size: u32, content: &[u8]) -> Vec<u8> {
    [&id[..], &size.to_le_bytes(), content].concat()
}

fn fmt_chunk(tag: u16, channels: u16, rate_hz: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    let mut content = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    content.extend(rate_hz.to_le_bytes());
    content.extend((rate_hz * u32::from(block)).to_le_bytes());
    content.extend(block.to_le_bytes());
    content.extend(bits.to_le_bytes());
    chunk(b"fmt ", 16, &content)
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let size = chunks.len() as u32 + 4;
    [b"RIFF", &size.to_le_bytes()[..], b"WAVE", &chunks].concat()
}

fn data_chunk(content: &[u8]) -> Vec<u8> {
    chunk(b"data", content.len() as u32, content)
}

/// A WAV file of 16 bits at 24 kHz, with chunks before and behind its samples.
fn wav16(before: &[Vec<u8>], data: Vec<u8>, behind: &[Vec<u8>]) -> Vec<u8> {
    let mut chunks = vec![fmt_chunk(1, 1, 24_000, 16)];
    chunks.extend_from_slice(before);
    chunks.push(data);
    chunks.extend_from_slice(behind);
    riff(&chunks)
}

fn samples(file: &[u8]) -> Vec<i16> {
    match read_recording(file) {
        Ok(sound) => sound.samples,
        Err(error) => panic!("{error}"),
    }
}

fn words(file: &[u8]) -> String {
    match read_recording(file) {
        Ok(sound) => panic!("{} samples were read", sound.samples.len()),
        Err(error) => error.to_string(),
    }
}

fn stored(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recordings");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

/// What libsndfile reads from a stored file.
fn expected(name: &str) -> Vec<i16> {
    pcm16::samples(&stored(&format!("{name}.s16"))).collect()
}

#[test]
fn a_16_bit_file_keeps_its_samples() {
    let sound = read_recording(&wav16(&[], data_chunk(&plain()), &[])[..]).unwrap();
    assert_eq!((sound.rate_hz, sound.samples), (24_000, values()));
}

#[test]
fn every_kind_of_pcm_is_read_as_libsndfile_reads_it() {
    for name in [
        "u8.wav",
        "pcm24.wav",
        "pcm32.wav",
        "float.wav",
        "double.wav",
        "rifx.wav",
    ] {
        assert_eq!(samples(&stored(name)), expected(name), "{name}");
    }
}

#[test]
fn telephone_recordings_in_a_law_and_mu_law_are_read() {
    for name in ["alaw.wav", "mulaw.wav"] {
        let sound = read_recording(&stored(name)[..]).unwrap();
        assert_eq!((sound.rate_hz, sound.samples), (8_000, expected(name)));
    }
}

#[test]
fn twenty_four_bits_of_thirty_two_are_the_upper_ones() {
    let name = "extensible24.wav";
    assert_eq!(samples(&stored(name)), expected(name));
    // 24 valid bits, left-aligned in four bytes.
    let extensible = |guid: [u8; 14]| {
        let mut content = fmt_chunk(0xfffe, 1, 48_000, 32)[8..].to_vec();
        content.extend([22, 0, 24, 0, 4, 0, 0, 0, 1, 0]);
        content.extend(guid);
        let sample = |value: i16| (i32::from(value) << 16 | 0x1100).to_le_bytes();
        let data: Vec<u8> = values().into_iter().flat_map(sample).collect();
        riff(&[chunk(b"fmt ", 40, &content), data_chunk(&data)])
    };
    let microsoft = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
    let ambisonic = [
        0, 0, 0x21, 7, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0,
    ];
    assert_eq!(samples(&extensible(microsoft)), values());
    assert_eq!(samples(&extensible(ambisonic)), values());
    assert!(words(&extensible([7; 14])).contains("only its GUID names"));
}

#[test]
fn sizes_that_speech_services_and_pipes_make_up_mean_the_end_of_the_file() {
    for size in [0, u32::MAX, 0x7fff_ffff, 2_000_000_000, 0x7fff_f000, 202] {
        for (riff_size, more) in [(0, &[][..]), (u32::MAX, &[]), (size, &[7])] {
            let mut file = wav16(&[], chunk(b"data", size, &plain()), &[]);
            file[4..8].copy_from_slice(&riff_size.to_le_bytes());
            // Half a sample at the end is left out.
            file.extend_from_slice(more);
            assert_eq!(samples(&file), values(), "{size:#x}, {riff_size:#x}");
        }
    }
    for name in ["ffmpeg_pipe.wav", "ffmpeg_rf64.wav"] {
        assert_eq!(samples(&stored(name)), expected(name), "{name}");
    }
}

#[test]
fn chunks_of_odd_length_are_followed_by_a_padding_byte_or_not() {
    let list = chunk(b"LIST", 5, b"hello");
    let padded = [list.clone(), vec![0]].concat();
    for before in [
        vec![padded.clone()],
        vec![list.clone()],
        vec![padded.clone(), padded.clone(), chunk(b"JUNK", 0, b"")],
        vec![list, padded.clone(), chunk(b"bext", 3, b"abc\0")],
        vec![chunk(b"????", 3, b"abc\0"), chunk(b"!!!!", 2, b"ab")],
    ] {
        let file = wav16(&before, data_chunk(&plain()), std::slice::from_ref(&padded));
        assert_eq!(samples(&file), values());
    }
    // An empty chunk of samples before the one that holds them.
    let empty = chunk(b"data", 0, b"");
    assert_eq!(
        samples(&wav16(&[empty], data_chunk(&plain()), &[])),
        values()
    );
}

#[test]
fn rf64_is_read_by_its_64_bit_sizes() {
    assert_eq!(samples(&stored("rf64.wav")), expected("rf64.wav"));
    let ds64 = |bytes: u64| {
        let sizes = [0u64.to_le_bytes(), bytes.to_le_bytes(), [0; 8]].concat();
        chunk(b"ds64", 28, &[sizes, vec![0; 4]].concat())
    };
    for (name, bytes) in [
        (b"RF64", 200),
        (b"BW64", 200),
        (b"RF64", 0),
        (b"RF64", u64::MAX),
    ] {
        let chunks = [
            ds64(bytes),
            fmt_chunk(1, 1, 24_000, 16),
            chunk(b"data", u32::MAX, &plain()),
        ];
        let mut file = riff(&chunks);
        file[..8].copy_from_slice(&[&name[..], &[0xff; 4]].concat());
        assert_eq!(samples(&file), values());
        if bytes == 200 {
            // What lies behind the samples is no sound.
            file.extend(chunk(b"LIST", 4, b"INFO"));
            assert_eq!(samples(&file), values());
        }
    }
}

#[test]
fn channels_are_averaged_and_floats_clipped() {
    let of = |channels, tag, bits, data: Vec<u8>| {
        riff(&[fmt_chunk(tag, channels, 24_000, bits), data_chunk(&data)])
    };
    let floats = [
        0.5f32,
        0.0,
        3.0,
        3.0,
        f32::NAN,
        0.0,
        f32::INFINITY,
        0.0,
        -9.0,
        f32::NEG_INFINITY,
    ];
    let file = of(
        2,
        3,
        32,
        floats.iter().flat_map(|v| v.to_le_bytes()).collect(),
    );
    assert_eq!(samples(&file), [8192, i16::MAX, 0, i16::MAX, i16::MIN]);
    let doubles = [0.25f64, -0.5, 1e300, f64::NAN];
    let file = of(
        1,
        3,
        64,
        doubles.iter().flat_map(|v| v.to_le_bytes()).collect(),
    );
    assert_eq!(samples(&file), [8192, -16_384, i16::MAX, 0]);
    let six = pcm16::bytes(&[6, 0, 0, 0, 0, 6, -600, 0, 0, 0, 0, 0]);
    assert_eq!(samples(&of(6, 1, 16, six)), [2, -100]);
    let wide = [-(1i64 << 62), 1 << 61].map(i64::to_le_bytes).concat();
    assert_eq!(samples(&of(1, 1, 64, wide)), [-16_384, 8192]);
    let twelve = pcm16::bytes(&[0x7ff0, -0x8000]);
    assert_eq!(samples(&of(1, 1, 12, twelve)), [0x7ff0, i16::MIN]);
}

#[test]
fn rates_from_1_to_384_khz_are_read() {
    let at = |hz| riff(&[fmt_chunk(1, 1, hz, 16), data_chunk(&plain())]);
    for hz in [1_000, 7_350, 96_000, 192_000, 384_000] {
        assert_eq!(read_recording(&at(hz)[..]).unwrap().rate_hz, hz);
    }
    for hz in [0, 999, 384_001, 0x7fff_ffff] {
        let words = words(&at(hz));
        assert!(words.contains(&format!("{hz} Hz")) && words.contains("ffmpeg"));
    }
}

#[test]
fn what_stands_before_the_header_is_left_out() {
    let file = wav16(&[], data_chunk(&plain()), &[]);
    let id3 = [&b"ID3\x04\0\0\0\0\x01\x02"[..], &[0; 130]].concat();
    let footer = [&b"ID3\x04\0\x10\0\0\0\x02"[..], &[0; 12]].concat();
    for before in [
        b"\xef\xbb\xbf".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n".to_vec(),
        vec![0; 512],
        id3.clone(),
        [id3, footer].concat(),
    ] {
        assert_eq!(samples(&[before, file.clone()].concat()), values());
    }
}

#[test]
fn wav_files_in_one_are_heard_one_after_the_other() {
    let file = |hz, data: Vec<u8>| riff(&[fmt_chunk(1, 1, hz, 16), data]);
    let odd = data_chunk(&[&plain()[..], &[0, 0]].concat()[..201]);
    let (whole, odd) = (file(24_000, data_chunk(&plain())), file(24_000, odd));
    let twice = [values(), values()].concat();
    assert_eq!(samples(&[whole.clone(), whole.clone()].concat()), twice);
    assert_eq!(samples(&[&odd[..], &whole].concat()), twice);
    assert_eq!(samples(&[&odd[..], &[0], &whole].concat()), twice);
    let other = file(16_000, data_chunk(&plain()));
    assert!(words(&[whole, other].concat()).contains("of 24000 Hz and of 16000 Hz"));
}

#[test]
fn flac_is_read_exactly() {
    let sound = read_recording(&stored("voice.flac")[..]).unwrap();
    assert_eq!(
        (sound.rate_hz, sound.samples),
        (24_000, expected("voice.flac"))
    );
}

#[test]
fn mp3_and_ogg_vorbis_are_read_as_other_decoders_read_them() {
    for (name, tag) in [("voice.ogg", 0), ("voice.mp3", 0), ("voice.mp3", 200)] {
        let id3 = [&b"ID3\x04\0\0\0\0\x01\x48"[..], &[0; 200]].concat();
        let file = [&id3[..if tag > 0 { 10 + tag } else { 0 }], &stored(name)].concat();
        let sound = read_recording(&file[..]).unwrap();
        let expected = expected(name);
        assert_eq!(sound.rate_hz, 24_000);
        assert_eq!(sound.samples.len(), expected.len(), "{name}");
        let difference = |(a, b): (&i16, &i16)| f64::from(*a) - f64::from(*b);
        let pairs = sound.samples.iter().zip(&expected);
        let worst = pairs
            .map(difference)
            .fold(0.0, |worst: f64, d| worst.max(d.abs()));
        assert!(worst <= 2.0, "{name}: {worst}");
    }
    // MP3 in place of a WAV file's samples.
    let wav = riff(&[
        fmt_chunk(0x55, 1, 24_000, 0),
        data_chunk(&stored("voice.mp3")),
    ]);
    assert_eq!(samples(&wav), samples(&stored("voice.mp3")));
}

#[test]
fn files_that_are_cut_off_are_read_as_far_as_they_go() {
    let file = wav16(&[], data_chunk(&plain()), &[]);
    for end in 46..file.len() {
        assert_eq!(samples(&file[..end]), values()[..(end - 44) / 2]);
    }
    for end in 0..46 {
        let error = words(&file[..end]);
        assert!(!error.is_empty(), "{end}");
    }
    for name in ["voice.flac", "voice.mp3"] {
        let whole = stored(name);
        let read = samples(&whole[..whole.len() * 7 / 8]).len();
        assert!((1..=12_000).contains(&read), "{name}: {read}");
    }
}

#[test]
fn what_is_no_recording_is_named_with_the_cure() {
    for (name, kind) in [
        ("voice.opus", "an Opus file"),
        ("voice.aiff", "an AIFF file"),
        ("voice.caf", "a CAF file"),
        ("voice.w64", "a Sony Wave64 file"),
        ("ima_adpcm.wav", "IMA ADPCM (format 0x0011)"),
    ] {
        let words = words(&stored(name));
        let cure = "ffmpeg -i IN -ac 1 -ar 24000 -c:a pcm_s16le out.wav";
        assert!(words.contains(kind) && words.contains(cure), "{words}");
    }
    let cases: [(&[u8], &str); 14] = [
        (b"", "it is empty: 0 bytes"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "an MP4, M4A or MOV file"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86", "a WebM or Matroska file"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc", "an AAC file"),
        (b"RIFF\x10\0\0\0AVI LIST", "an AVI film"),
        (b"\x1f\x8b\x08\0", "a gzip archive"),
        (
            b"{\"error\": {\"code\": 401}}",
            "begins \"{\\\"error\\\": {\\\"code\\\": 401}}\"",
        ),
        (b"<!DOCTYPE html><html>", "is text and no sound"),
        ("\u{feff}schöne Grüße".as_bytes(), "is text and no sound"),
        (b"UklGRiQAAABXQVZF", "base64 -d"),
        (&[0; 4_000], "no sound file of a known kind"),
        (b"\x01\x02\x03\x04", "ffmpeg -f s16le"),
        (b"RIFF", "has no `fmt ` chunk"),
        (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0\0\0", "has no `fmt ` chunk"),
    ];
    for (file, expected) in cases {
        let words = words(file);
        assert!(words.contains(expected), "{words}");
    }
    let header = wav16(&[], vec![], &[]);
    assert!(words(&header).contains("has no `data` chunk"));
    let empty = wav16(&[], data_chunk(b""), &[]);
    assert!(words(&empty).contains("holds no sound"));
    for (channels, tag, bits) in [(0, 1, 16), (1, 1, 0), (1, 1, 72), (1, 3, 16), (1, 3, 24)] {
        let format = fmt_chunk(tag, channels, 24_000, bits);
        let words = words(&riff(&[format, data_chunk(&plain())]));
        assert!(words.contains("channels of"), "{words}");
    }
}

/// A reader that gives one byte at a time, as a pipe may.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = out.len().min(1);
        self.0.read(&mut out[..len])
    }
}

#[test]
fn a_pipe_gives_what_the_file_gives() {
    for name in [
        "ffmpeg_rf64.wav",
        "voice.flac",
        "voice.ogg",
        "voice.mp3",
        "rifx.wav",
    ] {
        let file = stored(name);
        let piped = read_recording(Dribble(&file)).unwrap();
        assert_eq!(piped.samples, samples(&file), "{name}");
    }
}

/// Inputs that a fuzzer found interesting, and seeds for it.
#[test]
fn the_fuzz_corpus_of_recordings_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/recording");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        let _ = read_recording(&data[..]);
        count += 1;
    }
    assert!(count > 0);
}

/// A sound is no longer than its bytes can tell: nothing is made of a size that a header claims.
fn check(data: &[u8]) {
    if let Ok(sound) = read_recording(data) {
        assert!(sound.rate_hz > 0 && !sound.samples.is_empty());
        assert!(sound.samples.capacity() <= 2 * data.len() + 64);
    }
}

fn any_wav() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "alaw.wav",
        "extensible24.wav",
        "rf64.wav",
        "rifx.wav",
        "ffmpeg_pipe.wav",
        "float.wav",
    ];
    proptest::sample::select(names.map(stored).to_vec())
}

proptest! {
    #[test]
    fn any_bytes_are_a_sound_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&data);
        check(&[b"RIFF\0\0\0\0WAVE", &data[..]].concat());
        let format = fmt_chunk(1, 1, 24_000, 16);
        check(&[b"RIFF\0\0\0\0WAVE", &format[..], &data].concat());
    }

    #[test]
    fn wav_files_with_wrong_bytes_are_a_sound_or_an_error(
        mut file in any_wav(),
        changes in proptest::collection::vec((0..128usize, any::<u8>()), 1..6),
        end in 0..4_000usize,
    ) {
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        file.truncate(end.max(12));
        check(&file);
    }

    #[test]
    fn coded_files_with_wrong_bytes_are_a_sound_or_an_error(
        name in proptest::sample::select(vec!["voice.flac", "voice.mp3", "voice.ogg"]),
        changes in proptest::collection::vec((0..6_000usize, any::<u8>()), 1..6),
        end in 64..6_000usize,
    ) {
        let mut file = stored(name);
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        file.truncate(end);
        let _ = read_recording(&file[..]);
    }
}
