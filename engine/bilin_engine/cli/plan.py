"""`bilin-engine plan`: where a model would lie and how fast it would answer, before loading."""

import argparse

from bilin_engine.cli.arguments import EXIT_OK, ArgumentParser, add_place_arguments
from bilin_engine.cli.report import print_json
from bilin_engine.protocol import DevicePlan, PlanModel, PlanResult, PlanSettings


def add_arguments(parser: ArgumentParser) -> None:
    """What `plan` takes."""
    default = PlanSettings()
    parser.add_argument("model", help="a model of the library, or a known one: glm-130b")
    parser.add_argument(
        "--gpus",
        "--devices",
        dest="devices",
        default="",
        metavar="4x24GiB",
        help="invented devices: 8x11GiB; 24GiB,11GiB; 2x24GiB@1008; 24GiB,cpu:64GiB",
    )
    parser.add_argument("--context", type=int, default=0, help="tokens; 0 = the model's longest")
    parser.add_argument("--prompt-tokens", type=int, default=0, help="0 = half of the context")
    parser.add_argument(
        "--mode",
        choices=["auto", "single", "tensor_parallel", "layer_split"],
        default=default.mode,
    )
    parser.add_argument("--precision", choices=["int4", "int8", "fp16"], default="")
    parser.add_argument("--group-size", default="", help="row, 128, 64, 32 or another multiple")
    parser.add_argument(
        "--reserve-mib", type=int, default=default.reserve_bytes // 2**20, help="kept free per GPU"
    )
    parser.add_argument(
        "--kv-dtype",
        choices=["auto", "float32", "bfloat16", "float16", "int8"],
        default=default.kv_dtype,
        help="of keys and values (auto: float16 on GPUs, float32 on the processor)",
    )
    parser.add_argument("--no-cpu", action="store_true", help="never compute on the processor")
    add_place_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the plan; a model that does not fit is an answer, not a failure."""
    request = PlanModel(
        id=1,
        model=options.model,
        devices=options.devices,
        precision=options.precision,
        group_size=options.group_size,
        settings=PlanSettings(
            context=options.context,
            prompt_tokens=options.prompt_tokens,
            mode=options.mode,
            reserve_bytes=options.reserve_mib * 2**20,
            use_cpu=not options.no_cpu,
            kv_dtype=options.kv_dtype,
        ),
    )
    with options.open_session(options) as session:
        result = session.ask(lambda _i: request, PlanResult)
    if options.json:
        print_json(result)
    else:
        _print(result)
    return EXIT_OK


def _print(result: PlanResult) -> None:
    verdict = "fits 放得下" if result.fits else "does not fit 放不下"
    print(
        f"{verdict}: {result.mode.replace('_', ' ')}, context {result.context}, "
        f"prompts of {result.prompt_tokens} tokens"
    )
    if result.reason:
        print(result.reason)
    print(
        f"{'':<10}{'layers':>7}{'weights':>10}{'KV cache':>10}{'working':>10}{'others':>10}"
        f"{'reserve':>10}{'free':>10}   GiB"
    )
    for device in result.devices:
        print(_line(device))
    print(
        f"about {result.decode_tok_s:.1f} tokens/s (at most {result.roofline_tok_s:.1f} by memory "
        f"bandwidth), first token after {result.first_token_s:.1f} s"
    )
    for line in result.assumptions:
        print(f"  {line}")
    for suggestion in result.suggestions:
        print(f"→ {suggestion.text}")


def _line(device: DevicePlan) -> str:
    working = device.activations + device.communication
    sizes = (device.weights, device.kv_cache, working, device.other_programs)
    columns = "".join(f"{size / 2**30:>10.2f}" for size in (*sizes, device.reserve, device.free))
    return f"{device.name:<10}{device.num_layers:>7}{columns}   {device.label}"
