"""Reads the event files of a folder with TensorBoard itself, and prints what it finds as JSON: read_events.py FOLDER"""
import base64
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

everything = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0, "compressedHistograms": 0, "audio": 0}
events = EventAccumulator(sys.argv[1], size_guidance=everything)
events.Reload()
tags = events.Tags()


def histogram(value):
    return {
        **{name: getattr(value, name) for name in ["min", "max", "num", "sum", "sum_squares"]},
        "bucket_limit": list(value.bucket_limit),
        "bucket": list(value.bucket),
    }


print(
    json.dumps(
        {
            "scalars": {
                tag: [[e.step, e.wall_time, e.value] for e in events.Scalars(tag)] for tag in sorted(tags["scalars"])
            },
            "histograms": {
                tag: [[e.step, histogram(e.histogram_value)] for e in events.Histograms(tag)]
                for tag in sorted(tags["histograms"])
            },
            "images": {
                tag: [
                    [e.step, e.width, e.height, base64.b64encode(e.encoded_image_string).decode()]
                    for e in events.Images(tag)
                ]
                for tag in sorted(tags["images"])
            },
            "texts": {
                tag: [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors(tag)]
                for tag in sorted(tags["tensors"])
                if events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
            },
        },
        indent=1,
    )
)
