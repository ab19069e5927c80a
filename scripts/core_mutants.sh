#!/usr/bin/env bash
# Puts each deliberate bug of tests/core_sim/mutants.txt into a copy of the core, and expects the tests to catch it.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Only the core and its tests: a mutant compiles in seconds.
mkdir -p "$copy/src" "$copy/tests"
cp -r tests/core_sim tests/golden "$copy/tests/"
printf 'pub mod consensus;\n' > "$copy/src/lib.rs"
printf '[package]\nname = "plainsong"\nedition = "2024"\n[dependencies]\nbytes = "1"\nfastrand = "2"\n[profile.dev]\nopt-level = 1\n[workspace]\n' > "$copy/Cargo.toml"
cp Cargo.lock "$copy/"
caught=0 missed=0
while IFS= read -r line; do
    rm -rf "$copy/src/consensus" && cp -r src/consensus "$copy/src/"
    words=$(MUTANT=$line perl -e '
        my ($file, $from, $to, $words) = map { s/\\\|/|/gr =~ s/\\n/\n/gr } split / \| /, $ENV{MUTANT};
        my $path = "$ARGV[0]/src/consensus/$file";
        local $/; open my $in, "<", $path or die; my $text = <$in>;
        my $at = index $text, $from;
        die "$file does not say: $from\n" if $at < 0;
        substr($text, $at, length $from) = $to;
        open my $out, ">", $path or die; print $out $text; print $words' "$copy")
    if ! (cd "$copy" && cargo test --quiet --no-run >"$copy/log" 2>&1); then
        echo "does not compile: $words"; cat "$copy/log"; exit 1
    elif (cd "$copy" && RUST_BACKTRACE=0 cargo test --quiet >"$copy/log" 2>&1); then
        echo "NOT CAUGHT: $words"; missed=$((missed + 1))
    else
        echo "caught: $words"; caught=$((caught + 1))
    fi
done < <(grep -v '^#' tests/core_sim/mutants.txt)
echo "$caught of $((caught + missed)) deliberate bugs are caught"
[ "$missed" -eq 0 ]
