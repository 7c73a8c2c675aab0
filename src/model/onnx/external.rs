//! Weights that a file keeps in another file beside it, as PyTorch exports them today.

use super::OnnxError;
use super::proto::parse;
use crate::model::ModelError;
use crate::model::files::is_confined;
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, TensorProto, tensor_proto::DataLocation};

/// The same network with all weights in it. `read` reads a file of the network's folder by its name; the names that
/// reach it lead nowhere else. A network that has all its weights is returned as it is.
///
/// # Errors
/// When the bytes are no ONNX file, a name leads out of the folder, `read` fails, a file is shorter than the network
/// says, or all weights together are larger than `limit` bytes.
pub fn with_external_data(
    name: &str,
    onnx: Vec<u8>,
    limit: u64,
    read: impl Fn(&str) -> Result<Vec<u8>, ModelError>,
) -> Result<Vec<u8>, ModelError> {
    let refuse = |source| ModelError::Onnx {
        network: name.to_owned(),
        source,
    };
    let mut proto = parse(&onnx).map_err(refuse)?;
    let mut tensors = Vec::new();
    proto
        .graph
        .iter_mut()
        .for_each(|graph| collect(graph, &mut tensors));
    if tensors.is_empty() {
        return Ok(onnx);
    }
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let mut total = 0u64;
    for tensor in tensors {
        let location = location(tensor);
        if !is_confined(&location) {
            return Err(refuse(OnnxError::ExternalOutside { location }));
        }
        if !files.contains_key(&location) {
            files.insert(location.clone(), read(&location)?);
        }
        embed(tensor, &location, &files[&location]).map_err(refuse)?;
        total += tensor.raw_data.len() as u64;
        if total > limit {
            return Err(refuse(OnnxError::ExternalTooLarge { limit }));
        }
    }
    Ok(proto.encode_to_vec())
}

/// Names of the files beside it that a network keeps weights in.
///
/// # Errors
/// When the bytes are no ONNX file.
pub fn external_files(onnx: &[u8]) -> Result<Vec<String>, OnnxError> {
    let mut proto = parse(onnx)?;
    let mut tensors = Vec::new();
    if let Some(graph) = &mut proto.graph {
        collect(graph, &mut tensors);
    }
    Ok(tensors.iter().map(|tensor| location(tensor)).collect())
}

/// The first file beside it that a network needs, if there is one.
pub(super) fn first_location(graph: &mut GraphProto) -> Option<String> {
    let mut tensors = Vec::new();
    collect(graph, &mut tensors);
    tensors.first().map(|tensor| location(tensor))
}

/// All tensors that lie in other files, those of subgraphs and attributes included.
fn collect<'a>(graph: &'a mut GraphProto, found: &mut Vec<&'a mut TensorProto>) {
    let mut take = |tensor: &'a mut TensorProto| {
        if tensor.data_location == Some(DataLocation::External as i32) {
            found.push(tensor);
        }
    };
    graph.initializer.iter_mut().for_each(&mut take);
    let mut inner = Vec::new();
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute
            .t
            .iter_mut()
            .chain(&mut attribute.tensors)
            .for_each(&mut take);
        inner.extend(attribute.g.iter_mut().chain(&mut attribute.graphs));
    }
    for graph in inner {
        collect(graph, found);
    }
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    let entry = tensor.external_data.iter().find(|entry| entry.key == key);
    entry.map(|entry| &*entry.value)
}

fn location(tensor: &TensorProto) -> String {
    let location = entry(tensor, "location").unwrap_or_default();
    location.strip_prefix("./").unwrap_or(location).to_owned()
}

fn embed(tensor: &mut TensorProto, location: &str, file: &[u8]) -> Result<(), OnnxError> {
    let bad = |reason| OnnxError::BadTensor {
        tensor: tensor.name.clone(),
        reason,
    };
    let number = |key: &str| match entry(tensor, key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(bad("names a place in another file that is no number")),
    };
    let bytes = file.len() as u64;
    let offset = number("offset")?.unwrap_or(0);
    let end = match number("length")? {
        Some(length) => offset.saturating_add(length),
        None => bytes,
    };
    if offset > end || end > bytes {
        return Err(OnnxError::ExternalTruncated {
            tensor: tensor.name.clone(),
            location: location.to_owned(),
            offset,
            end,
            bytes,
        });
    }
    tensor.raw_data = file[offset as usize..end as usize].to_vec();
    tensor.data_location = None;
    tensor.external_data.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::OnnxError;
    use super::*;
    use crate::model::files::sha256_hex;
    use crate::model::onnx::read_package_network;
    use crate::model::{Checksum, LoadLimits, Manifest};
    use std::fs;
    use std::path::Path;
    use tract_onnx::pb::StringStringEntryProto;

    /// The same file with every large weight in another one, and that one.
    fn split(onnx: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut proto, mut data) = (parse(onnx).unwrap(), Vec::new());
        let graph = proto.graph.as_mut().unwrap();
        for tensor in graph
            .initializer
            .iter_mut()
            .filter(|tensor| tensor.raw_data.len() > 64)
        {
            let entry = |key: &str, value: String| StringStringEntryProto {
                key: key.into(),
                value,
            };
            tensor.external_data = vec![
                entry("location", "weights.data".into()),
                entry("offset", data.len().to_string()),
                entry("length", tensor.raw_data.len().to_string()),
            ];
            tensor.data_location = Some(DataLocation::External as i32);
            data.append(&mut tensor.raw_data);
        }
        (proto.encode_to_vec(), data)
    }

    #[test]
    fn a_package_reads_weights_beside_its_network_that_its_manifest_states() {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages/tiny");
        let (limits, folder) = (LoadLimits::default(), tempfile::tempdir().unwrap());
        let json = fs::read(tiny.join("manifest.json")).unwrap();
        let mut manifest = Manifest::parse(&json, &tiny.join("manifest.json"), "tiny").unwrap();
        let whole = fs::read(tiny.join("unet.onnx")).unwrap();
        let (network, data) = split(&whole);
        assert!(data.len() > 1000);
        for (name, content) in [("unet.onnx", &network), ("weights.data", &data)] {
            fs::write(folder.path().join(name), content).unwrap();
            let checksum = Checksum {
                bytes: content.len() as u64,
                sha256: sha256_hex(content),
            };
            manifest.files.insert(name.into(), checksum);
        }
        let read = |manifest: &Manifest| {
            read_package_network(folder.path(), "unet.onnx", manifest, &limits)
        };
        let found = parse(&read(&manifest).unwrap()).unwrap();
        assert_eq!(found, parse(&whole).unwrap());
        // Changed, then not stated.
        fs::write(folder.path().join("weights.data"), vec![0; data.len()]).unwrap();
        assert!(matches!(read(&manifest), Err(ModelError::Changed { .. })));
        manifest.files.remove("weights.data");
        let missing = OnnxError::ExternalMissing {
            location: "weights.data".into(),
        };
        assert!(
            matches!(read(&manifest), Err(ModelError::Onnx { source, .. }) if source == missing)
        );
    }
}
