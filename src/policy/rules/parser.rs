//! From tokens to the tree of a condition, with the precedence of CEL: `||`, `&&`, comparisons, sums, products, `!`.

use super::{
    NESTING_MAX, NODES_MAX,
    error::{RuleError, Span},
    lexer::{self, Token, What},
    syntax::{Call, Expr, Operator, Part},
};

/// Reads a condition.
pub(super) fn parse(text: &str) -> Result<Expr, RuleError> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, nodes: 0 };
    if parser.peek().what == What::End {
        let span = parser.peek().span;
        return Err(RuleError::new(
            span,
            "an empty condition",
            "write when the rule holds, such as `amount > 30000`",
        ));
    }
    let expr = parser.any()?;
    match &parser.peek().what {
        What::End => Ok(expr),
        _ => Err(parser.surprise_after_expression()),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    nodes: usize,
}

type Parsed = Result<Expr, RuleError>;

static END: Token = Token { what: What::End, span: Span { start: 0, end: 1 } };

impl Parser<'_> {
    fn any(&mut self) -> Parsed {
        self.chain("||", Self::all, Part::Any)
    }

    fn all(&mut self) -> Parsed {
        self.chain("&&", Self::comparison, Part::All)
    }

    fn chain(
        &mut self,
        symbol: &str,
        operand: fn(&mut Self) -> Parsed,
        make: fn(Vec<Expr>) -> Part,
    ) -> Parsed {
        let first = operand(self)?;
        if !self.is_symbol(symbol) {
            return Ok(first);
        }
        let start = first.span;
        let mut parts = vec![first];
        while self.take_symbol(symbol) {
            parts.push(operand(self)?);
        }
        let end = parts.last().map_or(start, |last| last.span);
        self.node(make(parts), start.to(end))
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let Some(operator) = self.take_operator(Operator::comparison) else { return Ok(left) };
        let right = self.sum()?;
        let span = left.span.to(right.span);
        if self.operator(Operator::comparison).is_some() {
            let found = format!("a comparison of a comparison: unexpected {}", self.peek().what.shown());
            return Err(self.wrong(found, "join two comparisons with `&&`"));
        }
        self.node(Part::Binary(operator, Box::new(left), Box::new(right)), span)
    }

    fn sum(&mut self) -> Parsed {
        self.binary(Operator::sum, Self::product)
    }

    fn product(&mut self) -> Parsed {
        self.binary(Operator::product, Self::unary)
    }

    fn binary(&mut self, level: fn(&str) -> Option<Operator>, operand: fn(&mut Self) -> Parsed) -> Parsed {
        let mut left = operand(self)?;
        while let Some(operator) = self.take_operator(level) {
            let right = operand(self)?;
            let span = left.span.to(right.span);
            left = self.node(Part::Binary(operator, Box::new(left), Box::new(right)), span)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let start = self.peek().span;
        if self.take_symbol("!") {
            let inner = self.deeper(Self::unary)?;
            let span = start.to(inner.span);
            return self.node(Part::Not(Box::new(inner)), span);
        }
        if self.take_symbol("-") {
            let inner = self.deeper(Self::unary)?;
            let span = start.to(inner.span);
            return self.node(Part::Negative(Box::new(inner)), span);
        }
        self.postfix()
    }

    /// A value with what follows it: `.field`, `.method(…)`, `["key"]`.
    fn postfix(&mut self) -> Parsed {
        let mut expr = self.primary()?;
        loop {
            let start = expr.span;
            if self.take_symbol(".") {
                let (name, name_span) = self.name("a name after the dot")?;
                if self.is_symbol("(") {
                    let (arguments, end) = self.arguments("(", ")")?;
                    let call = Call { receiver: Some(Box::new(expr)), name, name_span, arguments };
                    expr = self.node(Part::Call(call), start.to(end))?;
                } else if let Part::Path(path) = &expr.what {
                    expr = Expr { what: Part::Path(format!("{path}.{name}")), span: start.to(name_span) };
                } else if let Part::Call(call @ Call { receiver: None, .. }) = &expr.what
                    && call.name == "budget"
                {
                    let field = Part::Field(call.clone(), name, name_span);
                    expr = self.node(field, start.to(name_span))?;
                } else {
                    let found = format!("only inputs have fields: unexpected `.{name}`");
                    return Err(RuleError::new(name_span, found, "remove it"));
                }
            } else if self.is_symbol("[") {
                let (mut keys, end) = self.arguments("[", "]")?;
                let (Some(key), 0) = (keys.pop(), keys.len()) else {
                    return Err(RuleError::new(
                        start.to(end),
                        "expected one key in brackets",
                        "write `[\"key\"]`",
                    ));
                };
                expr = self.node(Part::Index(Box::new(expr), Box::new(key)), start.to(end))?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let Token { what, span } = self.peek().clone();
        match what {
            What::Integer(number) => self.leaf(Part::Integer(number), span),
            What::Duration(duration) => self.leaf(Part::Duration(duration), span),
            What::Text(text) => self.leaf(Part::Text(text), span),
            What::Name(name) => match name.as_str() {
                "true" | "false" => self.leaf(Part::Boolean(name == "true"), span),
                "in" | "and" | "or" | "not" => Err(self.expected("a value")),
                _ => {
                    self.step();
                    if !self.is_symbol("(") {
                        return self.node(Part::Path(name), span);
                    }
                    let (arguments, end) = self.arguments("(", ")")?;
                    let call = Call { receiver: None, name, name_span: span, arguments };
                    self.node(Part::Call(call), span.to(end))
                }
            },
            What::Symbol("(") => {
                self.step();
                let inner = self.deeper(Self::any)?;
                let end = self.close(")", "(")?;
                Ok(Expr { what: inner.what, span: span.to(end) })
            }
            What::Symbol("[") => {
                let (items, end) = self.arguments("[", "]")?;
                self.node(Part::List(items), span.to(end))
            }
            What::Symbol(_) | What::End => Err(self.expected("a value")),
        }
    }

    /// What stands between brackets, with commas.
    fn arguments(&mut self, open: &'static str, close: &'static str) -> Result<(Vec<Expr>, Span), RuleError> {
        self.step();
        let mut items = Vec::new();
        while !self.is_symbol(close) {
            items.push(self.deeper(Self::any)?);
            if !self.take_symbol(",") {
                break;
            }
        }
        let end = self.close(close, open)?;
        Ok((items, end))
    }

    fn close(&mut self, symbol: &'static str, open: &str) -> Result<Span, RuleError> {
        let span = self.peek().span;
        if self.take_symbol(symbol) {
            return Ok(span);
        }
        let found =
            format!("expected `{symbol}` for the `{open}` before, found {}", self.peek().what.shown());
        Err(self.wrong(found, format!("close it with `{symbol}`")))
    }

    fn name(&mut self, expected: &str) -> Result<(String, Span), RuleError> {
        match self.peek().clone() {
            Token { what: What::Name(name), span } => {
                self.step();
                Ok((name, span))
            }
            _ => Err(self.expected(expected)),
        }
    }

    fn deeper(&mut self, inner: fn(&mut Self) -> Parsed) -> Parsed {
        self.depth = self.depth.saturating_add(1);
        if self.depth > NESTING_MAX {
            let found = format!("more than {NESTING_MAX} parts inside each other");
            return Err(self.wrong(found, "split the rule, or remove brackets"));
        }
        let parsed = inner(self);
        self.depth = self.depth.saturating_sub(1);
        parsed
    }

    fn leaf(&mut self, part: Part, span: Span) -> Parsed {
        self.step();
        self.node(part, span)
    }

    fn node(&mut self, what: Part, span: Span) -> Parsed {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            let found = format!("a condition of more than {NODES_MAX} parts");
            return Err(RuleError::new(span, found, "split the rule, or put values into `lists:`"));
        }
        Ok(Expr { what, span })
    }

    fn expected(&self, expected: &str) -> RuleError {
        let advice = match &self.peek().what {
            What::Symbol("=") => "compare with `==`",
            What::Name(name) if name == "not" => "write `!` for \"not\"",
            What::Name(name) if name == "and" => "write `&&` for \"and\"",
            What::Name(name) if name == "or" => "write `||` for \"or\"",
            What::Name(name) if name == "in" => "write what to look for before `in`",
            What::Name(_)
            | What::Integer(_)
            | What::Duration(_)
            | What::Text(_)
            | What::Symbol(_)
            | What::End => {
                "write an input such as `amount`, a number, a duration such as `24h`, or a text in quotes"
            }
        };
        self.wrong(format!("expected {expected}, found {}", self.peek().what.shown()), advice)
    }

    /// Something follows a complete condition.
    fn surprise_after_expression(&self) -> RuleError {
        let found = format!("expected an operator or the end, found {}", self.peek().what.shown());
        let advice = match &self.peek().what {
            What::Name(name) => match name.to_ascii_lowercase().as_str() {
                "and" => "write `&&` for \"and\"",
                "or" => "write `||` for \"or\"",
                "not" => "write `!` before a condition, or `!(x in y)`",
                "is" | "equals" | "eq" => "compare with `==`",
                "contains" => "write `x.contains(\"…\")`",
                _ => "the operators are && || ! == != < <= > >= in + - * /",
            },
            What::Symbol(")" | "]") => "remove it: no bracket is open",
            What::Symbol("!") => "write `!=`, or `!(x in y)`",
            What::Symbol(_) | What::Integer(_) | What::Duration(_) | What::Text(_) | What::End => {
                "the operators are && || ! == != < <= > >= in + - * /"
            }
        };
        self.wrong(found, advice)
    }

    fn wrong(&self, found: impl Into<String>, advice: impl Into<String>) -> RuleError {
        RuleError::new(self.peek().span, found, advice)
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).or(self.tokens.last()).unwrap_or(&END)
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(&self.peek().what, What::Symbol(found) if *found == symbol)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let is_there = self.is_symbol(symbol);
        self.at = self.at.saturating_add(usize::from(is_there));
        is_there
    }

    fn operator(&self, level: fn(&str) -> Option<Operator>) -> Option<Operator> {
        match &self.peek().what {
            What::Symbol(symbol) => level(symbol),
            What::Name(name) => level(name),
            What::Integer(_) | What::Duration(_) | What::Text(_) | What::End => None,
        }
    }

    fn take_operator(&mut self, level: fn(&str) -> Option<Operator>) -> Option<Operator> {
        let operator = self.operator(level)?;
        self.step();
        Some(operator)
    }
}
