//! What every store of segments must do, in memory, on local files and on a real S3 server.

mod common;

mod memory {
    use std::sync::Arc;

    use sterna_storage::Segments;

    sterna_storage::segments_conformance_suite! {
        let segments = crate::common::in_memory();
        move || Arc::new(segments.clone()) as Arc<dyn Segments>
    }
}

mod files {
    use std::sync::Arc;

    use sterna_storage::Segments;

    sterna_storage::segments_conformance_suite! {
        let root = tempfile::tempdir().unwrap();
        move || Arc::new(crate::common::in_files(root.path())) as Arc<dyn Segments>
    }
}

mod s3 {
    use std::sync::Arc;

    use sterna_storage::Segments;
    use sterna_storage_object::ObjectSegments;

    sterna_storage::segments_conformance_suite! {
        let folder = tempfile::tempdir().unwrap();
        let config = crate::common::s3_config(crate::common::s3_server(), folder.path());
        move || {
            let _keys = &folder;
            Arc::new(ObjectSegments::open(config.clone()).unwrap()) as Arc<dyn Segments>
        }
    }
}
