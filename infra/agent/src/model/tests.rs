//! Words and answers.

use super::*;

#[test]
fn the_last_words_are_those_of_the_end() {
    let long = "x".repeat(150);
    for (lines, expected) in [
        (vec![], "it said nothing".to_owned()),
        (vec!["", "  "], "it said nothing".to_owned()),
        (vec!["one", "", " two "], "one two".to_owned()),
        (vec!["first", &long, "last"], format!("first {long} last")),
        (vec![&*long, &long], format!("{} {long}", "x".repeat(49))),
        (vec![&*format!("start{long}{long}end")], format!("{}end", "x".repeat(197))),
        (vec!["é", &"é".repeat(200)], "é".repeat(100)),
    ] {
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        assert_eq!(words(lines.iter()), expected);
    }
}
