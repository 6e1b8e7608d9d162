//! JSON as it was written: keys in their order, whole numbers apart from others.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    pub fn parse(text: &str) -> Result<Node, String> {
        serde_json::from_str(text).map_err(|e| format!("not JSON ({e}): {text}"))
    }

    /// Without the key `name`, wherever it is.
    pub fn without(self, name: &str) -> Node {
        match self {
            Node::Object(fields) => {
                let kept = fields.into_iter().filter(|(key, _)| key != name);
                Node::Object(kept.map(|(key, node)| (key, node.without(name))).collect())
            }
            Node::List(nodes) => Node::List(nodes.into_iter().map(|n| n.without(name)).collect()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => self,
        }
    }

    /// With the lists sorted whose order Burrow leaves to chance: names, and a group's partitions.
    pub fn sorted(self, key: &str) -> Node {
        match self {
            Node::Object(fields) => {
                let sorted = fields.into_iter().map(|(key, node)| {
                    let node = node.sorted(&key);
                    (key, node)
                });
                Node::Object(sorted.collect())
            }
            Node::List(mut nodes) => {
                if matches!(
                    key,
                    "clusters" | "topics" | "consumers" | "partitions" | "modules"
                ) {
                    nodes.sort();
                }
                Node::List(nodes)
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => self,
        }
    }

    /// Only what kind of value stands where.
    pub fn shape(&self) -> Node {
        match self {
            Node::Null => Node::Null,
            Node::Bool(_) => Node::Text("bool".to_owned()),
            Node::Number(_) => Node::Text("number".to_owned()),
            Node::Text(_) => Node::Text("text".to_owned()),
            Node::List(_) => Node::Text("list".to_owned()),
            Node::Object(fields) => {
                let shapes = fields.iter().map(|(key, node)| (key.clone(), node.shape()));
                Node::Object(shapes.collect())
            }
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("null"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Number(value) => f.write_str(value),
            Node::Text(value) => write!(f, "{value:?}"),
            Node::List(nodes) => f.debug_list().entries(nodes).finish(),
            Node::Object(fields) => {
                let fields = fields.iter().map(|(key, node)| (key, node));
                f.debug_map().entries(fields).finish()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsWritten)
    }
}

struct AsWritten;

impl<'de> Visitor<'de> for AsWritten {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // `1.0` stays apart from `1`.
        Ok(Node::Number(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}
