//! All mutants of a file in one text, each behind a switch (mutant schemata: Untch, Offutt and Harrold, 1993).
//!
//! ```text
//! a < b                        (if crate::mutant::on(7) { a <= b } else { a < b })
//! fn f() -> u64 { … }          fn f() -> u64 { if crate::mutant::on(8) { return 0; } … }
//! A => x,                      A if !crate::mutant::on(9) => x,
//! A if g => x,                 A if (if crate::mutant::on(10) { true } else { g }) => x,
//! S { a: 1, ..base }           (if crate::mutant::on(11) { S { ..base } } else { S { a: 1, ..base } })
//! fn f() -> impl Iterator<…>   if crate::mutant::on(12) { One(::std::iter::empty()) } else { Other({ … }) }
//! ```
//!
//! The branch of a mutant is the *original* text with cargo-mutants' replacement in it, so that mutants inside it are not
//! there a second time: only one is ever on. The text is that of the whole chain of operators, because what the new
//! operator binds to can be another than what the old one did.

use crate::list::{Genre, Mutant};
use proc_macro2::Span;
use std::collections::HashMap;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Expr, UnOp};

/// A file with its mutants woven in.
pub struct Woven {
    pub text: String,
    /// Which bytes of the text are whose.
    pub pieces: Vec<(Range<usize>, u32)>,
    /// Mutants of functions that return an iterator: an error that one of them causes can be anywhere in the file.
    pub iterators: Vec<u32>,
    /// Mutants that could not be, and why.
    pub left_out: Vec<(u32, &'static str)>,
}

/// Where the mutants of a file can be put, by the place of what they replace.
#[derive(Default)]
struct Sites {
    /// Chains of operators and struct expressions: what has to be written a second time.
    whole: HashMap<usize, Range<usize>>,
    /// Operators between parts of an `if let … && …`, which is no expression.
    in_let_chain: Vec<usize>,
    /// Bodies of functions, without their braces.
    bodies: HashMap<usize, Range<usize>>,
    /// Those of functions that return an iterator.
    iterators: HashMap<usize, Range<usize>>,
    /// Ends of the patterns of arms.
    arms: HashMap<usize, usize>,
    guards: HashMap<usize, Range<usize>>,
    /// The chain of operators that is being visited.
    chain: Option<Range<usize>>,
}

fn range(span: Span) -> Range<usize> {
    span.byte_range()
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// A function that returns `impl Iterator` returns one type, and an early return would be of another.
fn returns_iterator(signature: &syn::Signature) -> bool {
    let syn::ReturnType::Type(_, returned) = &signature.output else { return false };
    let syn::Type::ImplTrait(returned) = &**returned else { return false };
    returned.bounds.iter().any(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => {
            bound.path.segments.last().is_some_and(|last| last.ident == "Iterator")
        }
        _ => false,
    })
}

/// Any other `impl Trait` that it returns, or a part of it.
fn returns_impl(signature: &syn::Signature) -> bool {
    struct Found(bool);
    impl<'ast> Visit<'ast> for Found {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut found = Found(false);
    found.visit_return_type(&signature.output);
    found.0
}

impl Sites {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let inside = range(block.brace_token.span.open()).end..range(block.brace_token.span.close()).start;
        if returns_iterator(signature) {
            self.iterators.insert(range(first.span()).start, inside);
        } else if !returns_impl(signature) {
            self.bodies.insert(range(first.span()).start, inside);
        }
    }
}

impl<'ast> Visit<'ast> for Sites {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        let outer = self.chain.take();
        let root = outer.clone().unwrap_or_else(|| range(expr.span()));
        match expr {
            Expr::Binary(binary) if has_let(expr) => self.in_let_chain.push(range(binary.op.span()).start),
            Expr::Binary(binary) => {
                self.whole.insert(range(binary.op.span()).start, root.clone());
                self.chain = Some(root);
            }
            Expr::Unary(unary) if !matches!(unary.op, UnOp::Deref(_)) => {
                self.whole.insert(range(unary.op.span()).start, root.clone());
                self.chain = Some(root);
            }
            Expr::Unary(_) | Expr::Cast(_) => self.chain = outer.clone(),
            Expr::Struct(literal) => {
                for field in &literal.fields {
                    self.whole.insert(range(field.span()).start, range(literal.span()));
                }
            }
            _ => {}
        }
        visit::visit_expr(self, expr);
        self.chain = outer;
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let outer = self.chain.take();
        visit::visit_block(self, block);
        self.chain = outer;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.arms.insert(range(arm.span()).start, range(arm.pat.span()).end);
        if let Some((_, guard)) = &arm.guard {
            self.guards.insert(range(guard.span()).start, range(guard.span()));
        }
        visit::visit_arm(self, arm);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Text around a range of the source.
struct Around {
    range: Range<usize>,
    /// Parts of what comes before it, and whose they are.
    before: Vec<(String, Option<u32>)>,
    after: String,
}

/// Weaves mutants into the source of their file.
pub fn weave(source: &str, file: &syn::File, mutants: &[&Mutant]) -> Woven {
    let mut sites = Sites::default();
    sites.visit_file(file);
    let mut left_out = Vec::new();
    let mut wholes: HashMap<Range<usize>, Vec<(String, Option<u32>)>> = HashMap::new();
    let mut around = Vec::new();
    let mut iterators: HashMap<Range<usize>, Vec<(String, &Mutant)>> = HashMap::new();
    for mutant in mutants {
        let on = format!("crate::mutant::on({})", mutant.id);
        let start = mutant.range.start;
        match mutant.genre {
            Genre::BinaryOperator | Genre::UnaryOperator | Genre::StructField => {
                let Some(root) = sites.whole.get(&start) else {
                    let is_let = sites.in_let_chain.contains(&start);
                    left_out.push((mutant.id, if is_let { "in a chain of `let`s" } else { "no expression" }));
                    continue;
                };
                let mutated = mutate(source, root.clone(), mutant);
                if syn::parse_str::<Expr>(&mutated).is_err() {
                    left_out.push((mutant.id, "no Rust"));
                    continue;
                }
                let branch = format!("if {on} {{ {mutated} }} else ");
                wholes.entry(root.clone()).or_default().push((branch, Some(mutant.id)));
            }
            Genre::MatchArmGuard => {
                let Some(guard) = sites.guards.get(&start) else {
                    left_out.push((mutant.id, "no guard"));
                    continue;
                };
                let branch = format!("if {on} {{ {} }} else ", mutant.replacement);
                wholes.entry(guard.clone()).or_default().push((branch, Some(mutant.id)));
            }
            Genre::MatchArm => match sites.arms.get(&start) {
                // One with a guard is not deleted: its guard is made false.
                Some(end) => around.push(Around {
                    range: *end..*end,
                    before: vec![(format!(" if !{on} "), Some(mutant.id))],
                    after: String::new(),
                }),
                None => left_out.push((mutant.id, "no arm")),
            },
            Genre::FnValue => match sites.bodies.get(&start) {
                Some(body) => around.push(Around {
                    range: body.clone(),
                    before: vec![(
                        format!(" if {on} {{ return {}; }} ", mutant.replacement),
                        Some(mutant.id),
                    )],
                    after: String::new(),
                }),
                None => match sites.iterators.get(&start) {
                    Some(_) if mutant.replacement.contains("Box::leak") => {
                        left_out.push((mutant.id, "an iterator over `&mut`"));
                    }
                    Some(body) => iterators.entry(body.clone()).or_default().push((on, mutant)),
                    None => left_out.push((mutant.id, "returns `impl Trait`")),
                },
            },
        }
    }
    for (range, mut before) in wholes {
        before.insert(0, ("(".into(), None));
        before.push(("{ ".into(), None));
        around.push(Around { range, before, after: " })".into() });
    }
    let of_iterators = iterators.values().flatten().map(|(_, mutant)| mutant.id).collect();
    around.extend(iterators.into_iter().map(|(body, mutants)| iterator(body, &mutants)));
    let (text, pieces) = render(source, around);
    Woven { text, pieces, iterators: of_iterators, left_out }
}

/// The body of a function that returns an iterator: one of several, of a type of their own each.
fn iterator(body: Range<usize>, mutants: &[(String, &Mutant)]) -> Around {
    let (mut before, mut depth) = (Vec::new(), 0);
    for (on, mutant) in mutants {
        let (open, close) = ("crate::mutant::Either::Other(".repeat(depth), ")".repeat(depth));
        let one = format!("crate::mutant::Either::One({})", mutant.replacement);
        before.push((format!(" if {on} {{ {open}{one}{close} }} else "), Some(mutant.id)));
        depth += 1;
    }
    before.push((format!("{{ {}{{ ", "crate::mutant::Either::Other(".repeat(depth)), None));
    Around { range: body, before, after: format!(" }}{} }}", ")".repeat(depth)) }
}

/// A piece of the source with a mutant's replacement in it.
fn mutate(source: &str, root: Range<usize>, mutant: &Mutant) -> String {
    let Range { start, end } = mutant.range;
    format!("{}{}{}", &source[root.start..start], mutant.replacement, &source[end..root.end])
}

/// The whole source with one mutant in it and nothing else: as cargo-mutants makes it.
pub fn plain(source: &str, mutant: &Mutant) -> String {
    mutate(source, 0..source.len(), mutant)
}

fn render(source: &str, mut around: Vec<Around>) -> (String, Vec<(Range<usize>, u32)>) {
    // The outer ones first, so that what is put around the same place is nested the same way on both sides.
    around.sort_by_key(|around| (around.range.start, std::cmp::Reverse(around.range.end)));
    let mut befores: Vec<usize> = (0..around.len()).collect();
    befores.sort_by_key(|at| (around[*at].range.start, *at));
    let mut afters: Vec<usize> = (0..around.len()).collect();
    afters.sort_by_key(|at| (around[*at].range.end, std::cmp::Reverse(*at)));
    let (mut text, mut pieces) = (String::new(), Vec::new());
    let (mut before, mut after) = (befores.into_iter().peekable(), afters.into_iter().peekable());
    for (at, char) in source.char_indices().chain([(source.len(), '\0')]) {
        while let Some(which) = after.next_if(|which| around[*which].range.end == at) {
            text.push_str(&around[which].after);
        }
        while let Some(which) = before.next_if(|which| around[*which].range.start == at) {
            for (part, whose) in &around[which].before {
                let begin = text.len();
                text.push_str(part);
                pieces.extend(whose.map(|id| (begin..text.len(), id)));
            }
        }
        if at < source.len() {
            text.push(char);
        }
    }
    (text, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Key;

    fn woven(source: &str, mutants: &[(Genre, &str, &str)]) -> String {
        let mutants: Vec<Mutant> = mutants
            .iter()
            .zip(1..)
            .map(|((genre, replaced, replacement), id)| {
                let start = source.find(replaced).unwrap();
                Mutant {
                    id,
                    file: String::new(),
                    genre: *genre,
                    range: start..start + replaced.len(),
                    replacement: replacement.to_string(),
                    line: 0,
                    key: Key { file: String::new(), change: String::new(), ordinal: 1 },
                }
            })
            .collect();
        let file = syn::parse_file(source).unwrap();
        let woven = weave(source, &file, &mutants.iter().collect::<Vec<_>>());
        syn::parse_file(&woven.text).expect(&woven.text);
        for (bytes, id) in &woven.pieces {
            assert!(woven.text[bytes.clone()].contains(&format!("on({id})")));
        }
        woven.text.replace("crate::mutant::", "")
    }

    #[test]
    fn an_operator_is_replaced_in_the_whole_chain_that_it_is_in() {
        let source = "fn f() { g(a - b * c) }";
        let expected =
            "fn f() { g((if on(1) { a - b + c } else if on(2) { a + b * c } else { a - b * c })) }";
        let both = [(Genre::BinaryOperator, "*", "+"), (Genre::BinaryOperator, "-", "+")];
        assert_eq!(woven(source, &both), expected);
    }

    #[test]
    fn mutants_inside_others_are_woven_once() {
        let source = "fn f() -> u8 { a(!b) + 1 }";
        let all = [
            (Genre::FnValue, "a(!b) + 1", "7"),
            (Genre::UnaryOperator, "!", ""),
            (Genre::BinaryOperator, "+", "-"),
        ];
        let expected = "fn f() -> u8 { if on(1) { return 7; }  \
            (if on(3) { a(!b) - 1 } else { a((if on(2) { b } else { !b })) + 1 }) }";
        assert_eq!(woven(source, &all), expected);
    }

    #[test]
    fn arms_guards_and_fields_have_a_switch_each() {
        let source = "fn f() { match a { B => S { x: 1, ..c }, D if e => {} _ => {} } }";
        let all = [
            (Genre::MatchArm, "B => S { x: 1, ..c },", ""),
            (Genre::StructField, "x: 1,", ""),
            (Genre::MatchArmGuard, "e =", "true"),
        ];
        let expected = "fn f() { match a { B if !on(1)  => \
            (if on(2) { S {  ..c } } else { S { x: 1, ..c } }), D if (if on(3) { true } else { e }) => {} _ => {} } }";
        assert_eq!(woven(source, &all), expected);
    }

    #[test]
    fn an_iterator_is_one_of_several() {
        let source = "fn f() -> impl Iterator<Item = u8> { g() }";
        let both = [(Genre::FnValue, "g()", "empty()"), (Genre::FnValue, "g()", "once(1)")];
        let expected = "fn f() -> impl Iterator<Item = u8> { if on(1) { Either::One(empty()) } else  \
            if on(2) { Either::Other(Either::One(once(1))) } else { Either::Other(Either::Other({  g()  })) }}";
        assert_eq!(woven(source, &both), expected);
    }

    #[test]
    fn parts_of_a_let_chain_are_woven_one_by_one() {
        let source = "fn f() { if let A = b && c < d {} }";
        let both = [(Genre::BinaryOperator, "&&", "||"), (Genre::BinaryOperator, "<", ">")];
        assert_eq!(woven(source, &both), "fn f() { if let A = b && (if on(2) { c > d } else { c < d }) {} }");
    }
}
