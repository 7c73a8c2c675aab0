//! tract's errors, in one sentence.

use tract_onnx::prelude::TractError;

/// Characters of tract's own words that a message holds at most.
const LONGEST: usize = 200;

/// What tract says of a network, without its dumps of graphs and tensors: the node, its operator, the first line of the
/// cause, and what may help.
pub fn in_one_sentence(error: &TractError) -> String {
    let lines: Vec<String> = error
        .chain()
        .map(|cause| first_line(&cause.to_string()))
        .collect();
    let cause = lines.last().cloned().unwrap_or_default();
    // The last is the innermost.
    match lines.iter().rev().find_map(|line| node(line)) {
        Some(node) => format!(
            "tract cannot compute node {node}: {cause}; export the network with fixed shapes and opset 17, or simplify \
             it (onnxsim)"
        ),
        None if lines.len() > 1 => format!("{}: {cause}", lines[0]),
        None => cause,
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// The node that a line of tract's names as `#12 "name" Operator`.
fn node(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('#')?;
    let (number, rest) = rest.split_once(" \"")?;
    let (name, rest) = rest.split_once('"')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let operator = rest.trim().split([' ', ':', '.', '\n']).next();
    Some(match operator.filter(|operator| !operator.is_empty()) {
        Some(operator) => format!("`{name}` ({operator})"),
        None => format!("`{name}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_becomes_a_sentence() {
        let dump = "Trying to substitute a 1,8 by 1,1.\nModelPatch { context: [] }".to_owned();
        let error = TractError::msg(dump)
            .context("declutter node #21 \"/f/Conv\" EinSum")
            .context("running pass declutter");
        let words = in_one_sentence(&error);
        assert!(words.starts_with(
            "tract cannot compute node `/f/Conv` (EinSum): Trying to substitute a 1,8 by 1,1.;"
        ));
        assert!(
            !words.contains("ModelPatch") && !words.contains('\n'),
            "{words}"
        );
        let long = TractError::msg("x".repeat(5000));
        assert!(in_one_sentence(&long).chars().count() <= LONGEST + 1);
        let plain = TractError::msg("no such processor").context("choosing kernels");
        assert_eq!(
            in_one_sentence(&plain),
            "choosing kernels: no such processor"
        );
    }
}
