//! What of the sources concerns planted bugs only (`src/plant.rs`): conditions on them, and what runs only with one.
//!
//! A mutant in there says nothing about the engine: with no bug planted `plant::on` is false, and whatever it decides is
//! decided. So it is worked out which expressions are constant for that reason, and their mutants are set aside.

use proc_macro2::Span;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

/// Bytes of a file that concern planted bugs only, and operators that do.
#[derive(Default)]
pub struct Planted {
    ranges: Vec<Range<usize>>,
}

impl Planted {
    pub fn of(file: &syn::File) -> Planted {
        let mut planted = Planted::default();
        planted.visit_file(file);
        planted
    }

    /// Whether a mutant of these bytes says nothing about the engine.
    pub fn covers(&self, bytes: &Range<usize>) -> bool {
        self.ranges.iter().any(|range| range.start <= bytes.start && bytes.end <= range.end)
    }

    fn add(&mut self, span: Span) {
        self.ranges.push(span.byte_range());
    }
}

/// What an expression is as long as no bug is planted; `None` if that depends on anything else.
fn value(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Paren(inner) => value(&inner.expr),
        Expr::Call(call) if names_plant_on(&call.func) => Some(false),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => value(&unary.expr).map(|value| !value),
        Expr::Binary(binary) => match (binary.op, value(&binary.left), value(&binary.right)) {
            (BinOp::And(_), Some(false), _) | (BinOp::And(_), _, Some(false)) => Some(false),
            (BinOp::And(_), Some(true), Some(true)) => Some(true),
            (BinOp::Or(_), Some(true), _) | (BinOp::Or(_), _, Some(true)) => Some(true),
            (BinOp::Or(_), Some(false), Some(false)) => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn names_plant_on(func: &Expr) -> bool {
    let Expr::Path(path) = func else { return false };
    let names: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    names.ends_with(&["plant".into(), "on".into()])
}

/// A planted bug as a condition or as a number.
fn is_planted(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_planted(&inner.expr),
        Expr::Call(call) if call.args.len() == 1 => {
            value(expr).is_some() || (call.args.iter().all(is_planted) && is_conversion(&call.func))
        }
        Expr::MethodCall(call) => call.method == "into" && is_planted(&call.receiver),
        _ => value(expr).is_some(),
    }
}

fn is_conversion(func: &Expr) -> bool {
    matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "from"))
}

impl<'ast> Visit<'ast> for Planted {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        if value(expr).is_some() {
            self.add(expr.span());
        }
        visit::visit_expr(self, expr);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if is_planted(&binary.left) || is_planted(&binary.right) {
            self.add(binary.op.span());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        match (value(&branch.cond), &branch.else_branch) {
            (Some(false), _) => self.add(branch.then_branch.span()),
            (Some(true), Some((_, otherwise))) => self.add(otherwise.span()),
            _ => {}
        }
        visit::visit_expr_if(self, branch);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `plant::on(…).then(|| …)`
        if value(&call.receiver) == Some(false) {
            self.add(call.span());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard
            && value(guard) == Some(false)
        {
            self.add(arm.span());
        }
        visit::visit_arm(self, arm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the operators `<` and `!` of a function concern planted bugs only.
    fn planted(body: &str) -> Vec<bool> {
        let source = format!("fn f() {{ {body} }}");
        let planted = Planted::of(&syn::parse_file(&source).unwrap());
        let operators = source.match_indices(['<', '!', '+']);
        operators.map(|(at, _)| planted.covers(&(at..at + 1))).collect()
    }

    #[test]
    fn only_what_a_planted_bug_decides_is_set_aside() {
        assert_eq!(planted("if !plant::on(Bug::A) { a < b }"), [true, false]);
        assert_eq!(planted("if plant::on(Bug::A) { a < b } else { a < c }"), [true, false]);
        assert_eq!(planted("a < b && !plant::on(Bug::A)"), [false, true]);
        assert_eq!(planted("a < b && plant::on(Bug::A)"), [true]);
        assert_eq!(planted("a < b || (plant::on(Bug::A) && !c)"), [false, true]);
        assert_eq!(planted("plant::on(Bug::A).then(|| a < b)"), [true]);
        assert_eq!(planted("a + usize::from(plant::on(Bug::A)) < b"), [true, false]);
        assert_eq!(
            planted("match a { b if plant::on(Bug::A) && c < d => !e, _ => !f }"),
            [true, true, false]
        );
    }
}
