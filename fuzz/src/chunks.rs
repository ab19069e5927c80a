//! One stream cut in pieces: what a reader makes of bytes must not depend on how they arrive.

/// The longest piece: some hold several lines, and none is much longer than the shortest line limit.
const PIECE_BYTES_MAX: u64 = 61;

/// Cuts `bytes` as the seed says. Seed 0 is one piece, seed 1 is a piece a byte, the others mix lengths.
pub fn chunks(seed: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = u64::from(seed);
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        // The multiplier and increment of Knuth's MMIX generator; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let len = match seed {
            0 => rest.len(),
            1 => 1,
            _ => usize::try_from((state >> 33) % PIECE_BYTES_MAX).expect("a small number") + 1,
        };
        let (piece, later) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}
