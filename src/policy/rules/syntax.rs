//! A condition as it is written: a tree without types, in which every part knows its place.

use std::time::Duration;

use super::error::Span;

/// A part of a condition.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Expr {
    pub(super) what: Part,
    pub(super) span: Span,
}

/// What a part is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Part {
    Boolean(bool),
    Integer(i64),
    Duration(Duration),
    Text(String),
    /// `merchant.country`
    Path(String),
    /// `card.metadata["tier"]`
    Index(Box<Expr>, Box<Expr>),
    /// `budget("x").remaining`: the field of what a function gives, and where its name stands.
    Field(Call, String, Span),
    /// `[1, 2]`
    List(Vec<Expr>),
    /// `count(24h)`, `list("x").contains(y)`
    Call(Call),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    /// Two or more, joined by `&&`.
    All(Vec<Expr>),
    /// Two or more, joined by `||`.
    Any(Vec<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
}

/// A function or, with a receiver, a method.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Call {
    pub(super) receiver: Option<Box<Expr>>,
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) arguments: Vec<Expr>,
}

/// An operator between two parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Plus,
    Minus,
    Times,
    Over,
}

impl Operator {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Over => "/",
        }
    }

    const COMPARISONS: [Self; 7] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::In,
    ];

    /// The operator of this level that is written so: comparisons, sums or products.
    pub(super) fn comparison(written: &str) -> Option<Self> {
        Self::COMPARISONS.into_iter().find(|operator| operator.as_str() == written)
    }

    pub(super) fn sum(written: &str) -> Option<Self> {
        [Self::Plus, Self::Minus].into_iter().find(|operator| operator.as_str() == written)
    }

    pub(super) fn product(written: &str) -> Option<Self> {
        [Self::Times, Self::Over].into_iter().find(|operator| operator.as_str() == written)
    }
}
