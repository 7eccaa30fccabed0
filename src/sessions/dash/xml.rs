//! A small tree of XML elements, enough to take a manifest apart and put it together again.
//!
//! It reads what `playback` has already checked and made plain: well-formed, of bounded depth, without
//! entities or document types. Values stay as they were written, escapes included.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::{Deserialize, Serialize};

/// An element.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(in crate::sessions) struct Element {
    pub name: String,
    /// Names, and values as written.
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Node>,
}

/// What stands in an element.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(in crate::sessions) enum Node {
    Element(Element),
    Text(String),
}

const NOT_XML: &str = "KVS answered with something that is not a manifest";

impl Element {
    /// Reads a document: what stands ahead of the root, and the root.
    pub(in crate::sessions) fn parse(text: &str) -> Result<(String, Self), &'static str> {
        let mut reader = Reader::from_str(text);
        let mut declaration = String::new();
        // The last one is open.
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|_| NOT_XML)? {
                Event::Start(start) => open.push(Self::start(&start)?),
                Event::Empty(start) => {
                    let element = Self::start(&start)?;
                    open.last_mut().ok_or(NOT_XML)?.children.push(Node::Element(element));
                }
                Event::End(_) => {
                    let element = open.pop().ok_or(NOT_XML)?;
                    open.last_mut().ok_or(NOT_XML)?.children.push(Node::Element(element));
                }
                Event::Text(text) => {
                    let text = Node::Text(text.to_string());
                    open.last_mut().ok_or(NOT_XML)?.children.push(text);
                }
                Event::Decl(found) => declaration = format!("<?{}?>\n", &*found),
                Event::Eof => break,
                _ => return Err(NOT_XML),
            }
        }
        let (Some(document), true) = (open.pop(), open.is_empty()) else { return Err(NOT_XML) };
        let root = document.children.into_iter().find_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        });
        Ok((declaration, root.ok_or(NOT_XML)?))
    }

    fn start(start: &BytesStart<'_>) -> Result<Self, &'static str> {
        let attributes = start
            .attributes()
            .map(|attribute| {
                let attribute = attribute.map_err(|_| NOT_XML)?;
                let value = attribute.value.replace('"', "&quot;");
                Ok((attribute.key.into_inner().to_owned(), value))
            })
            .collect::<Result<_, &str>>()?;
        Ok(Self { name: start.name().into_inner().to_owned(), attributes, children: Vec::new() })
    }

    /// Its name without a prefix.
    pub(in crate::sessions) fn local(&self) -> &str {
        local(&self.name)
    }

    /// An attribute by its name without a prefix, as written.
    pub(in crate::sessions) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| local(key) == name).map(|(_, value)| value.as_str())
    }

    /// Sets or adds an attribute; the value must be escaped.
    pub(in crate::sessions) fn set(&mut self, name: &str, value: String) {
        match self.attributes.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    pub(in crate::sessions) fn remove(&mut self, name: &str) {
        self.attributes.retain(|(key, _)| local(key) != name);
    }

    /// The elements directly inside, of this name.
    pub(in crate::sessions) fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(move |node| match node {
            Node::Element(element) if element.local() == name => Some(element),
            _ => None,
        })
    }

    /// Changes this and all elements inside, outer ones first.
    pub(in crate::sessions) fn visit_mut(&mut self, visitor: &mut impl FnMut(&mut Self)) {
        visitor(self);
        for node in &mut self.children {
            if let Node::Element(element) = node {
                element.visit_mut(visitor);
            }
        }
    }

    pub(in crate::sessions) fn render(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(value);
            out.push('"');
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.children {
            match node {
                Node::Element(element) => element.render(out),
                Node::Text(text) => out.push_str(text),
            }
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_read_is_written() {
        for text in ["<a b=\"1\" x:c=\"&amp;&quot;\"><d/>text<e>more</e></a>", "<a/>"] {
            let (declaration, root) = Element::parse(&format!("<?xml version=\"1.0\"?>\n{text}\n")).unwrap();
            let mut out = String::new();
            root.render(&mut out);
            assert_eq!((declaration.as_str(), out.as_str()), ("<?xml version=\"1.0\"?>\n", text));
        }
        let (_, root) = Element::parse("<a k:ts='say \"1\"'><b/><x:b/></a>").unwrap();
        assert_eq!((root.get("ts"), root.children("b").count()), (Some("say &quot;1&quot;"), 2));
        for bad in ["", "text", "<a>", "<a></b>", "<a", "</a>", "<!DOCTYPE a><a/>"] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,40}", tags in "(<[ab/]{1,2}[ =\"x]{0,5}>){0,6}") {
            let _ = Element::parse(&text);
            let _ = Element::parse(&tags);
        }
    }
}
