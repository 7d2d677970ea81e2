"""The only description of what the processes of Bilin say to each other.

Frames: 4-byte little-endian length, then that many bytes of msgpack, one tagged struct each.
App and supervisor speak `Request` / `Event` over the supervisor's stdin and stdout; supervisor
and worker speak `WorkerRequest` / `WorkerEvent` the same way. The first message both ways is
`Hello`. Every request has an id; every event that answers it repeats the id; each request ends in
exactly one `Done`, `Cancelled` or `Failed`. `EngineStatus` and `JobsChanged` alone have no id: they
are pushed. Supervisor and job speak `JobRequest` / `JobEvent` in the same way.
`Failed` with id 0 speaks of the connection itself (wrong version, broken frame): the stream ends
after it.

`encode_frame` and `FrameBuffer` are all that a peer needs to speak; they do no reading or writing.
Imports neither torch nor numpy nor Qt: the GUI process imports this module.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import msgspec

from bilin_engine import __version__

PROTOCOL_VERSION = 20
MAX_FRAME_BYTES = 64 * 1024 * 1024
FRAME_HEADER_BYTES = 4
CONNECTION_ID = 0  # the id of a `Failed` that answers no request; requests count from 1


# --- Shared values --------------------------------------------------------------------------------

Role = Literal["system", "user", "assistant"]
BlankKind = Literal["short", "long", "sentence"]  # [MASK], [gMASK], [sMASK]
# A mask token of the model's, its fill-in-the-middle tokens, or a chat that asks for it.
FillWay = Literal["mask", "fim", "instruction"]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message both ways. `role`: "app", "supervisor", "worker" or "job"."""

    protocol: int
    version: str
    role: str


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation. Mask tokens and role markers inside `text` are text."""

    role: Role
    text: str


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer comes about: how its tokens are chosen, and whether it begins with thoughts.

    temperature 0 = greedy. `seed` None = drawn, and told in the result. thinks: False leaves the
    reasoning out, of a chat with a model that `can_skip_thinking`; others do as they do.
    num_beams > 1 is beam search with the reference's scoring (score / ((5+len)/6)^length_penalty);
    `deterministic_beams` takes the top candidates instead of drawing them.
    """

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 0.9
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    max_new_tokens: int = 512
    stop_texts: tuple[str, ...] = ()
    seed: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    deterministic_beams: bool = True
    thinks: bool = True


class TextSegment(msgspec.Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    """A stretch of a person's text."""

    text: str


class BlankSegment(msgspec.Struct, frozen=True, tag="blank", forbid_unknown_fields=True):
    """A blank: one mask token."""

    kind: BlankKind


Segment = TextSegment | BlankSegment


class LengthLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fill's length: at most, or exactly, `count` characters (字) or words."""

    count: int
    unit: Literal["characters", "words"]
    exact: bool = False

    @property
    def room_tokens(self) -> int:
        """Tokens for a fill of that length: two a character or word, and some to end it."""
        return 2 * self.count + 16


class FillConstraints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate must keep. One that breaks it is returned and marked, not hidden."""

    length: LengthLimit | None = None
    choices: tuple[str, ...] = ()
    digits_only: bool = False


PlacementMode = Literal["auto", "single", "tensor_parallel", "layer_split"]
KVDType = Literal["auto", "float32", "bfloat16", "float16", "int8"]


class LoadSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is loaded. 0 or "auto" = chosen by measurement and said in `ModelLoaded`.

    device: one name, or several by commas, a rank or a run of layers each. world_size: ranks of
    tensor parallel; 0 = one a device. collective: between ranks. dtype: of the arithmetic.
    kv_dtype: of keys and values; "auto" = float16 on CUDA, float32 on the processor. num_slots:
    texts computed together; 0 = eight for small models, one for large ones.
    cpu_layers, prompt_tokens, reserve_bytes: as the `PlanSettings` this load was planned with.
    """

    context: int = 0
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1", "cuda:0,cuda:1"
    backend: Literal["auto", "cuda", "cpu", "reference"] = "auto"
    num_threads: int = 0
    mode: PlacementMode = "auto"
    world_size: int = 0
    collective: Literal["auto", "gloo", "nccl", "shared_memory"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    kv_dtype: KVDType = "auto"
    num_slots: int = 0
    cpu_layers: int = 0
    prompt_tokens: int = 0
    reserve_bytes: int = 768 * 1024**2


class Example(msgspec.Struct, frozen=True):
    """Something this model was measured to do. For "blank", `text` holds literal mask tokens."""

    kind: Literal["chat", "blank"]
    lang: Literal["zh", "en"]
    text: str


class ProofreadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How well a model finds wrong words, measured on sentences with one planted word each.

    hit_rate: share of sentences whose planted word is among the three most unlikely. num: how many
    sentences of each language. threshold: the score below which 5 % of the other words lie; caught:
    share of planted words below it. By language; 0 sentences = not measured.
    """

    hit_rate_zh: float = 0.0
    hit_rate_en: float = 0.0
    num_zh: int = 0
    num_en: int = 0
    threshold_zh: float = 0.0
    threshold_en: float = 0.0
    caught_zh: float = 0.0
    caught_en: float = 0.0


class MeasuredSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a model on a machine. at: seconds since the epoch.

    machine: its processor, as `processes.cpu_label` says. devices: by name, those that computed.
    bytes_per_token: weights and kv_cache that one decoded token reads. read_bytes_s: main memory's
    bandwidth in the same run, 0.0 where it was not measured.
    """

    at: float
    machine: str
    devices: tuple[str, ...]
    decode_tok_s: float
    prefill_tok_s: float
    prompt_tokens: int
    bytes_per_token: int
    read_bytes_s: float = 0.0


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the library. `problem` is the sentence why it cannot be used, or "".

    verified_at: seconds since the epoch when its files last agreed with their hashes; 0.0 = never
    since they were changed. sampling: what its makers recommend. proofread: how well it finds wrong
    words; None = untested. lacks_tokenizer: that is the problem, and `AddTokenizer` mends it.
    speed: the latest measurement on this machine. can_skip_thinking: it reasons before it answers
    unless `Sampling.thinks` is False.
    """

    id: str
    name_zh: str
    name_en: str
    family: str
    num_parameters: int
    precision: str  # "INT4 · 32", "INT8", "FP16"
    size_bytes: int
    languages: tuple[str, ...]
    can_chat: bool
    blank_kinds: tuple[BlankKind, ...]
    context_length: int
    licence: str
    source: str
    path: str
    is_bundled: bool
    examples: tuple[Example, ...] = ()
    problem: str = ""
    num_layers: int = 0
    num_heads: int = 0
    verified_at: float = 0.0
    sampling: Sampling = Sampling()
    proofread: ProofreadFigures | None = None
    lacks_tokenizer: bool = False
    speed: MeasuredSpeed | None = None
    can_skip_thinking: bool = False


class TrashedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted model that can be restored. trashed: its name for `RestoreModel`."""

    trashed: str
    name: str
    size_bytes: int
    deleted_at: float


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One device, read without creating a CUDA context. `free_bytes` counts other programs' use.

    own_bytes: what the loaded model holds there, which another model could have.
    """

    name: str  # "cuda:0", "cpu"
    label: str  # "NVIDIA GeForce RTX 3090", "AMD EPYC, 2 threads"
    total_bytes: int
    free_bytes: int
    own_bytes: int = 0


class PlanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan is for. context 0 = the model's longest; prompt_tokens 0 = half of the context.

    `reserve_bytes`: kept free on each GPU for the driver and fragments. `use_cpu`: layers that no
    GPU holds may run on the processor. cpu_layers: of a layer split, at least so many run there.
    kv_dtype: as in `LoadSettings`.
    """

    context: int = 0
    prompt_tokens: int = 0
    mode: PlacementMode = "auto"
    reserve_bytes: int = 768 * 1024**2
    use_cpu: bool = True
    kv_dtype: KVDType = "auto"
    cpu_layers: int = 0


class DevicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on one device. `free` is what stays; negative = what is missing.

    total = other_programs + weights + kv_cache + activations + communication + reserve + free.
    """

    name: str
    label: str
    total: int
    other_programs: int
    weights: int
    kv_cache: int
    activations: int
    communication: int
    reserve: int
    free: int
    num_layers: int


class PlanSuggestion(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that fit, with the sentence that offers them. `group_size` "" = unchanged."""

    text: str
    settings: PlanSettings
    group_size: str = ""


class PlanResult(msgspec.Struct, frozen=True, kw_only=True, tag="plan_result"):
    """A placement, or why there is none (`reason`; `short_device` misses `short_bytes`).

    roofline_tok_s: weights, head and KV read once per token at the devices' full bandwidth.
    decode_tok_s and first_token_s: what to expect; `assumptions` says from which figures.
    is_measured: they follow from a measurement of this model on these devices.
    available: every device, those too that the plan does not use or that are not enabled.
    """

    fits: bool
    mode: PlacementMode
    context: int
    prompt_tokens: int
    devices: tuple[DevicePlan, ...]
    roofline_tok_s: float
    decode_tok_s: float
    first_token_s: float
    reason: str = ""
    short_device: str = ""
    short_bytes: int = 0
    suggestions: tuple[PlanSuggestion, ...] = ()
    assumptions: tuple[str, ...] = ()
    available: tuple[DeviceInfo, ...] = ()
    is_measured: bool = False


# What a job process does. Every path is absolute; `folder` is the model folder that appears when
# all is done. What is unfinished lies beside it as ".NAME.partial" and is taken up again.


class ConvertModel(
    msgspec.Struct, frozen=True, kw_only=True, tag="convert_model", forbid_unknown_fields=True
):
    """Makes a model folder of a GLM-130B checkpoint, a Hugging Face folder or a GGUF file.

    group_size: "" = the default, "source", "row" or a number. config_file: sizes of a checkpoint
    that is not GLM-130B's. tokenizer_file: icetk's, "" = the one beside the checkpoint.
    removes_source: the source is a download of the library's own, needed no longer once the model
    is whole.
    """

    source: str
    folder: str
    target: Literal["", "int4", "int8", "fp16"] = ""
    group_size: str = ""
    config_file: str = ""
    tokenizer_file: str = ""
    removes_source: bool = False


class VerifyModel(msgspec.Struct, frozen=True, tag="verify_model", forbid_unknown_fields=True):
    """Compares every file of a model folder with its sha256, and looks for broken values."""

    folder: str


Hub = Literal["hugging_face", "modelscope"]


class Repository(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model on a hub. name: "owner/name". revision "" = the hub's default.

    endpoint: the address asked, "" = the environment's (HF_ENDPOINT, MODELSCOPE_ENDPOINT), else the
    hub's own. proxy "" = the environment's.
    """

    hub: Hub
    name: str
    endpoint: str = ""
    revision: str = ""
    proxy: str = ""


class DownloadModel(
    msgspec.Struct, frozen=True, kw_only=True, tag="download_model", forbid_unknown_fields=True
):
    """Fetches a repository's files; what has to be converted is work of its own (`JobDone.then`).

    file: the GGUF file that is wanted of several, else "". group_size: of the conversion. A token
    is read from the environment or the person's token file by the job itself.
    """

    repository: Repository
    folder: str
    file: str = ""
    group_size: str = ""


class ImportFolder(
    msgspec.Struct, frozen=True, kw_only=True, tag="import_folder", forbid_unknown_fields=True
):
    """Copies a model folder into the library and compares it with its hashes."""

    source: str
    folder: str


class MoveLibrary(msgspec.Struct, frozen=True, tag="move_library", forbid_unknown_fields=True):
    """Moves all models from one models folder to another, perhaps on another disk.

    Each is whole in one of the two at every moment; nothing is removed before all are there.
    """

    source: str
    folder: str


class SelfTest(msgspec.Struct, frozen=True, tag="self_test", forbid_unknown_fields=True):
    """Checks this machine's kernels, collectives and ranks; `JobInfo.report` is what was found."""


JobWork = ConvertModel | VerifyModel | DownloadModel | ImportFolder | MoveLibrary | SelfTest
JobState = Literal["waiting", "running", "paused", "failed", "done"]
JobAction = Literal["pause", "resume", "retry", "cancel", "first", "clear"]


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work of the queue. reason: why it failed, was paused by itself, or waits.

    report: what a self-test found, for people to read and send. shard: as in `JobProgress`.
    """

    job: int
    work: JobWork
    state: JobState = "waiting"
    stage: str = ""
    fraction: float = 0.0
    rate_bytes_s: float = 0.0
    eta_s: float | None = None
    reason: str = ""
    report: str = ""
    shard: int = 0
    num_shards: int = 0


ModelsFolderState = Literal["there", "missing", "unreadable"]
FolderKind = Literal["model", "reference", "hugging_face", "gguf", "unknown"]


class GenerationStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation took. Times in seconds; `prefill_s` until the first token's logits.

    encoded_tokens: of the prompt, those computed in `prefill_s`; the rest was there from before.
    """

    prompt_tokens: int
    new_tokens: int
    time_to_first_token_s: float
    prefill_s: float
    decode_s: float
    seed: int
    encoded_tokens: int = 0

    @property
    def decode_rate_tok_s(self) -> float:
        """Tokens per second after the first; 0.0 for fewer than two tokens."""
        return (
            (self.new_tokens - 1) / self.decode_s if self.new_tokens > 1 and self.decode_s else 0.0
        )


FinishReason = Literal["stop", "length", "context", "stop_text"]
EngineState = Literal["empty", "loading", "ready", "busy", "fault"]


# --- App -> supervisor ----------------------------------------------------------------------------


class ListModels(msgspec.Struct, frozen=True, tag="list_models", forbid_unknown_fields=True):
    """Ends in `Done(ModelsListed)`."""

    id: int


class ListDevices(msgspec.Struct, frozen=True, tag="list_devices", forbid_unknown_fields=True):
    """Ends in `Done(DevicesListed)`."""

    id: int


class PlanModel(
    msgspec.Struct, frozen=True, kw_only=True, tag="plan_model", forbid_unknown_fields=True
):
    """Where a model of the library, or a known one ("glm-130b"), would lie. `Done(PlanResult)`.

    devices: invented ones ("4x24GiB"), or "" = this machine's. enabled: names of those to use;
    empty = all. precision and group_size: of a known model; "" = INT4 in groups of 128.
    """

    id: int
    model: str
    devices: str = ""
    enabled: tuple[str, ...] = ()
    precision: Literal["", "int4", "int8", "fp16"] = ""
    group_size: str = ""
    settings: PlanSettings = PlanSettings()


class LoadModel(
    msgspec.Struct, frozen=True, kw_only=True, tag="load_model", forbid_unknown_fields=True
):
    """Loads `model`, replacing the loaded one. Sends `Progress`; ends in `Done(ModelLoaded)`."""

    id: int
    model: str
    settings: LoadSettings = LoadSettings()


class UnloadModel(msgspec.Struct, frozen=True, tag="unload_model", forbid_unknown_fields=True):
    """Ends the workers. Ends in `Done(None)`, also when nothing was loaded."""

    id: int


class Score(msgspec.Struct, frozen=True, kw_only=True, tag="score", forbid_unknown_fields=True):
    """How likely `text` is after `segments` (empty: from nothing). Ends in `Done(ScoreResult)`.

    With segments that hold a blank the text is what fills the first one; else it goes on from them.
    """

    id: int
    model: str
    text: str
    segments: tuple[Segment, ...] = ()


class CountTokens(
    msgspec.Struct, frozen=True, kw_only=True, tag="count_tokens", forbid_unknown_fields=True
):
    """Counts the whole prompt a `Chat` with these values would send. Ends in `Done(TokenCount)`.

    thinks: as in its `Sampling`.
    """

    id: int
    model: str
    messages: tuple[Message, ...]
    prefill: str = ""
    thinks: bool = True


class InspectPrompt(
    msgspec.Struct, frozen=True, kw_only=True, tag="inspect_prompt", forbid_unknown_fields=True
):
    """The exact prompt of a `Chat` (messages) or `Fill` (segments). Ends in `Done(PromptView)`.

    thinks: as in the `Sampling` of a `Chat`. constraints: of the `Fill`; an instruction tells them.
    """

    id: int
    model: str
    messages: tuple[Message, ...] = ()
    prefill: str = ""
    thinks: bool = True
    segments: tuple[Segment, ...] = ()
    blank: int = 0
    takes_nearest: bool = False
    constraints: FillConstraints = FillConstraints()


class InspectWindow(
    msgspec.Struct, frozen=True, kw_only=True, tag="inspect_window", forbid_unknown_fields=True
):
    """Which text a `Fill` of this blank with `takes_nearest` would see. `Done(WindowView)`.

    context_length: what the model was loaded with; 0 = the model's longest. constraints: of the
    `Fill`; the text leaves them room.
    """

    id: int
    model: str
    segments: tuple[Segment, ...]
    blank: int
    context_length: int = 0
    constraints: FillConstraints = FillConstraints()


class Chat(msgspec.Struct, frozen=True, kw_only=True, tag="chat", forbid_unknown_fields=True):
    """Answers the last user message, going on from `prefill`.

    Sends `Started` and `TextDelta`; ends in `Done(ChatResult)`.
    """

    id: int
    model: str
    messages: tuple[Message, ...]
    prefill: str = ""
    sampling: Sampling = Sampling()


class Generate(
    msgspec.Struct, frozen=True, kw_only=True, tag="generate", forbid_unknown_fields=True
):
    """Continues raw segments (a trailing long blank is added when there is none). As `Chat`."""

    id: int
    model: str
    segments: tuple[Segment, ...]
    sampling: Sampling = Sampling()


class BatchPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One text of a `GenerateBatch`, with its own sampling, stop texts and seed."""

    segments: tuple[Segment, ...]
    sampling: Sampling = Sampling()


class GenerateBatch(
    msgspec.Struct, frozen=True, kw_only=True, tag="generate_batch", forbid_unknown_fields=True
):
    """Continues several texts, decoded together; each as `Generate` would continue it alone.

    Sends one `Started` (tokens of all prompts, the first one's seed) and `TextDelta`s whose
    `candidate` is the prompt's index; ends in `Done(BatchResult)`.
    """

    id: int
    model: str
    prompts: tuple[BatchPrompt, ...]


class Fill(msgspec.Struct, frozen=True, kw_only=True, tag="fill", forbid_unknown_fields=True):
    """Fills one blank (`blank` = its index) or all in order (None), each seen by the next.

    takes_nearest: of a text that is longer than the model holds, each blank is filled with the
    nearest text on both sides of it (`InspectWindow` tells which); otherwise that is an error.
    A kind of blank that the model has no mask for is asked for in a chat (`FillResult.way`).
    Sends `Started` and `TextDelta` (with blank and candidate); ends in `Done(FillResult)`.
    """

    id: int
    model: str
    segments: tuple[Segment, ...]
    blank: int | None = None
    num_candidates: int = 1
    constraints: FillConstraints = FillConstraints()
    sampling: Sampling = Sampling()
    takes_nearest: bool = False


class Proofread(
    msgspec.Struct, frozen=True, kw_only=True, tag="proofread", forbid_unknown_fields=True
):
    """Compares every word of some sentences with what the model expects from both sides.

    spans: (start, end) of the sentences in `text`, in characters (code points); what stands around
    them is context. U+FFFC in `text` is a blank. Sends `SentenceRead` as each is done; ends in
    `Done(ProofreadResult)`. Fails for a model that sees one side only.
    """

    id: int
    model: str
    text: str
    spans: tuple[tuple[int, int], ...]


class InspectFolder(msgspec.Struct, frozen=True, tag="inspect_folder", forbid_unknown_fields=True):
    """What lies at a path that a person wants to add. Ends in `Done(FolderInspected)`."""

    id: int
    path: str


class ListCatalog(msgspec.Struct, frozen=True, tag="list_catalog", forbid_unknown_fields=True):
    """The models worth fetching that are known, without any network. `Done(CatalogListed)`.

    devices: invented ones ("4x24GiB"), or "" = this machine's.
    """

    id: int
    devices: str = ""


class ListRepository(
    msgspec.Struct, frozen=True, kw_only=True, tag="list_repository", forbid_unknown_fields=True
):
    """Asks a hub what a download would fetch. Ends in `Done(RepositoryListed)`.

    file: the GGUF file that is wanted of several, else "".
    """

    id: int
    repository: Repository
    file: str = ""


class KeepToken(
    msgspec.Struct, frozen=True, kw_only=True, tag="keep_token", forbid_unknown_fields=True
):
    """Keeps a person's token for one hub's endpoint; "" forgets it. Ends in `Done(None)`."""

    id: int
    hub: Hub
    token: str
    endpoint: str = ""

    def __repr__(self) -> str:
        """Without the token: what is printed may be kept."""
        return f"KeepToken(id={self.id}, hub={self.hub!r}, endpoint={self.endpoint!r})"


class AddInPlace(msgspec.Struct, frozen=True, tag="add_in_place", forbid_unknown_fields=True):
    """Lists a model folder that stays where it is. Ends in `Done(None)`."""

    id: int
    path: str


class RenameModel(msgspec.Struct, frozen=True, tag="rename_model", forbid_unknown_fields=True):
    """Gives a model another name, in both languages. Ends in `Done(None)`."""

    id: int
    model: str
    name: str


class DeleteModel(msgspec.Struct, frozen=True, tag="delete_model", forbid_unknown_fields=True):
    """Puts a model into the library's trash. A folder that was added in place is only left out.

    Ends in `Done(ModelDeleted)`.
    """

    id: int
    model: str


class RestoreModel(msgspec.Struct, frozen=True, tag="restore_model", forbid_unknown_fields=True):
    """Takes a deleted model out of the trash again; `trashed` is of its `ModelDeleted`."""

    id: int
    trashed: str


class AddTokenizer(
    msgspec.Struct, frozen=True, kw_only=True, tag="add_tokenizer", forbid_unknown_fields=True
):
    """Puts a tokenizer file (icetk's ice_text.model) into a model that lacks it. `Done(None)`."""

    id: int
    model: str
    path: str


class MeasureModel(msgspec.Struct, frozen=True, tag="measure_model", forbid_unknown_fields=True):
    """Measures the loaded model's speed and keeps it. `Progress`; `Done(SpeedMeasured)`."""

    id: int
    model: str


class EmptyTrash(msgspec.Struct, frozen=True, tag="empty_trash", forbid_unknown_fields=True):
    """Removes what was deleted for good. Ends in `Done(None)`."""

    id: int


class AddJob(msgspec.Struct, frozen=True, tag="add_job", forbid_unknown_fields=True):
    """Puts work at the end of the queue. Ends in `Done(None)`; `JobsChanged` tells of it."""

    id: int
    work: JobWork


class ChangeJob(msgspec.Struct, frozen=True, tag="change_job", forbid_unknown_fields=True):
    """Pauses, resumes, … a job; "first" = before those that wait; "clear" takes it off the list.

    "cancel" removes what it wrote. Ends in `Done(None)`.
    """

    id: int
    job: int
    action: JobAction


class ListJobs(msgspec.Struct, frozen=True, tag="list_jobs", forbid_unknown_fields=True):
    """Ends in `Done(None)`, after a `JobsChanged` with the queue as it is."""

    id: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel", forbid_unknown_fields=True):
    """Ends request `target` with `Cancelled`. Itself ends in `Done(None)` in every case."""

    id: int
    target: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown", forbid_unknown_fields=True):
    """Ends workers and jobs, answers `Done(None)`, then the supervisor exits with 0."""

    id: int


Request = (
    ListModels
    | ListDevices
    | PlanModel
    | LoadModel
    | UnloadModel
    | CountTokens
    | InspectPrompt
    | InspectWindow
    | Chat
    | Generate
    | GenerateBatch
    | Fill
    | Score
    | Proofread
    | InspectFolder
    | ListCatalog
    | ListRepository
    | KeepToken
    | AddInPlace
    | RenameModel
    | DeleteModel
    | RestoreModel
    | AddTokenizer
    | MeasureModel
    | EmptyTrash
    | AddJob
    | ChangeJob
    | ListJobs
    | Cancel
    | Shutdown
)


# --- Supervisor -> app ----------------------------------------------------------------------------


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True, tag="engine_status"):
    """Pushed on every change. `reason` is the sentence behind "fault", else ""."""

    state: EngineState
    model: str = ""
    fraction: float = 0.0
    reason: str = ""


class JobsChanged(msgspec.Struct, frozen=True, tag="jobs_changed"):
    """Pushed when a job's state changes, and as it goes on. In the order of the queue.

    library_changed: models were added or verified since the last one.
    """

    jobs: tuple[JobInfo, ...]
    library_changed: bool = False


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """Generation begins: the prompt is encoded and fits.

    dropped_messages: indices of the chat's oldest messages that no longer fit and were left out.
    """

    id: int
    prompt_tokens: int
    context_length: int
    seed: int
    dropped_messages: tuple[int, ...] = ()


TextPart = Literal["answer", "thinking"]


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, tag="text_delta"):
    """Text that follows what came before for this blank and candidate. Whole characters only.

    part: "thinking" = the model's reasoning before its answer, without its <think> tags.
    """

    id: int
    text: str
    num_tokens: int = 1
    blank: int = 0
    candidate: int = 0
    part: TextPart = "answer"


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a long request is. `fraction` 0..1, `eta_s` seconds or None where unknown."""

    id: int
    stage: str
    fraction: float
    eta_s: float | None = None


class ExpectedWord(msgspec.Struct, frozen=True):
    """What the model would put in a word's place; logprob: sum over its tokens."""

    text: str
    logprob: float


class ReadWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word at characters `start` to `end` of the text.

    score: 0 = just what the model expects, below it nats a token less likely than that (the mean
    over the word's tokens and the end of the blank), so that words compare. expected: of unlikely
    words alone, likeliest first.
    """

    start: int
    end: int
    score: float
    is_unlikely: bool = False
    expected: tuple[ExpectedWord, ...] = ()


class SentenceRead(msgspec.Struct, frozen=True, kw_only=True, tag="sentence_read"):
    """One span of a `Proofread` is done: `index` in its `spans`. Its words do not overlap."""

    id: int
    index: int
    words: tuple[ReadWord, ...]


class ModelsListed(msgspec.Struct, frozen=True, tag="models_listed"):
    """The library, bundled model first. known: can be planned without being here.

    folder: "missing" only where its parent is missing too: the default one comes with its first
    model.
    """

    models: tuple[ModelInfo, ...]
    trash: tuple[TrashedModel, ...] = ()
    known: tuple[ModelInfo, ...] = ()
    folder: ModelsFolderState = "there"


class DevicesListed(msgspec.Struct, frozen=True, tag="devices_listed"):
    """GPUs first, then the CPU."""

    devices: tuple[DeviceInfo, ...]


class FolderInspected(msgspec.Struct, frozen=True, kw_only=True, tag="folder_inspected"):
    """`problem`: why it cannot be added, or "". needed_bytes: by group size ("" = a copy).

    free_bytes: on the models folder's disk. rate_bytes_s: of the last conversion here, 0.0 = none.
    lacks_tokenizer: a conversion needs a tokenizer file that is not beside it.
    """

    kind: FolderKind
    path: str
    title: str
    size_bytes: int
    free_bytes: int
    needed_bytes: dict[str, int]
    rate_bytes_s: float = 0.0
    problem: str = ""
    lacks_tokenizer: bool = False


class SpeedMeasured(msgspec.Struct, frozen=True, tag="speed_measured"):
    """A measurement, kept in the library beside the one before it of another machine."""

    speed: MeasuredSpeed


CatalogFit = Literal["fits", "short", "unknown"]


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is known by name. repositories: by hub. Sizes are 0 where they are not certain.

    download_bytes: as published. int4_bytes: in groups of 128, on disk. family: the architecture.
    is_runnable: whether this engine has it. needed_bytes: in memory at `context` tokens, on
    `devices`; short_bytes: what `short_device` misses where fit is "short".
    """

    id: str
    name: str
    family: str
    languages: tuple[str, ...]
    licence: str
    repositories: dict[Hub, str]
    is_runnable: bool
    num_parameters: int = 0
    download_bytes: int = 0
    int4_bytes: int = 0
    fit: CatalogFit = "unknown"
    context: int = 0
    needed_bytes: int = 0
    devices: tuple[str, ...] = ()
    short_device: str = ""
    short_bytes: int = 0
    decode_tok_s: float = 0.0


class CatalogListed(msgspec.Struct, frozen=True, tag="catalog_listed"):
    """In the order of the catalog."""

    entries: tuple[CatalogEntry, ...]


class RepositoryFile(msgspec.Struct, frozen=True):
    """One file of a repository."""

    name: str
    size_bytes: int


class RepositoryListed(msgspec.Struct, frozen=True, kw_only=True, tag="repository_listed"):
    """What a download would fetch. `problem`: why it makes no model here, or "".

    endpoint: the address asked. hosts: those the weights come from. revision: the commit, "" where
    the hub does not say. needed_bytes: of the model, by group size ("" = the codes it has).
    is_ready: nothing has to be converted. gguf_files: those to choose from. free_bytes: on the
    models folder's disk. others: files of the repository that are not fetched.
    """

    repository: Repository
    endpoint: str
    revision: str
    files: tuple[RepositoryFile, ...]
    hosts: tuple[str, ...] = ()
    licence: str = ""
    family: str = ""
    needed_bytes: dict[str, int] = {}
    is_ready: bool = False
    gguf_files: tuple[RepositoryFile, ...] = ()
    num_others: int = 0
    free_bytes: int = 0
    has_token: bool = False
    problem: str = ""


class ModelDeleted(msgspec.Struct, frozen=True, kw_only=True, tag="model_deleted"):
    """`freed_bytes` once the trash is emptied; trashed: for `RestoreModel`, "" = only unlisted."""

    freed_bytes: int
    trashed: str


class PredictedMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What placement expects on one device, in bytes; as a `DevicePlan` says it.

    weights are there once the model is loaded; cache and the rest fill as it is used.
    """

    weights: int
    kv_cache: int
    activations: int
    communication: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv_cache + self.activations + self.communication

    def plus(self, other: "PredictedMemory") -> "PredictedMemory":
        """Of two ranks on one device."""
        return PredictedMemory(
            weights=self.weights + other.weights,
            kv_cache=self.kv_cache + other.kv_cache,
            activations=self.activations + other.activations,
            communication=self.communication + other.communication,
        )


class ModelLoaded(msgspec.Struct, frozen=True, kw_only=True, tag="model_loaded"):
    """What was loaded where. `memory_bytes`: real use by device name, as `placement` names them.

    predicted_bytes: what placement expects of weights, cache and working space; empty where the
    devices cannot be planned. The cache and the working space fill as the model is used.
    predicted: the same, part by part. notice: what was not done as asked, and why, or "".
    """

    model: str
    context_length: int
    backend: str
    num_threads: int
    load_s: float
    memory_bytes: dict[str, int]
    mode: PlacementMode = "single"
    world_size: int = 1
    predicted_bytes: dict[str, int] = {}
    predicted: dict[str, PredictedMemory] = {}
    notice: str = ""


class TokenCount(msgspec.Struct, frozen=True, kw_only=True, tag="token_count"):
    """`total` counts masks and specials, of all messages. `per_message` in the order sent.

    dropped_messages: indices of the oldest ones that a `Chat` would leave out (see `Started`).
    """

    total: int
    context_length: int
    per_message: tuple[int, ...]
    dropped_messages: tuple[int, ...] = ()


class PromptToken(msgspec.Struct, frozen=True):
    """One token as the model saw it."""

    token_id: int
    text: str
    position: int
    is_special: bool = False


class PromptView(msgspec.Struct, frozen=True, kw_only=True, tag="prompt_view"):
    """The exact prompt. Tokens before `prefix_len` see each other; later ones are causal.

    way: how a `Fill` would ask; None for a `Chat`.
    """

    tokens: tuple[PromptToken, ...]
    prefix_len: int
    context_length: int
    way: FillWay | None = None


class WindowView(msgspec.Struct, frozen=True, kw_only=True, tag="window_view"):
    """What the model would see: characters `start` to `end` of the text, where a blank counts one.

    num_tokens: the prompt's. document_tokens: the whole text's, the same if all of it is seen.
    """

    start: int
    end: int
    num_tokens: int
    document_tokens: int
    context_length: int
    way: FillWay


class ChatResult(msgspec.Struct, frozen=True, kw_only=True, tag="chat_result"):
    """The whole text (without the prefill). "context" = the window was full: said, never silent.

    thinking: the reasoning before it, which is no part of `text` and of later prompts.
    """

    text: str
    finish_reason: FinishReason
    stats: GenerationStats
    thinking: str = ""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to fill a blank. `logprob`: sum over its tokens. `breaks`: why it fails, or ""."""

    text: str
    logprob: float
    num_tokens: int
    breaks: str = ""


class FilledBlank(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates best first. `index` counts the blanks of the request."""

    index: int
    kind: BlankKind
    candidates: tuple[Candidate, ...]


class FillResult(msgspec.Struct, frozen=True, kw_only=True, tag="fill_result"):
    """`text`: the segments with every filled blank's best candidate in place."""

    text: str
    blanks: tuple[FilledBlank, ...]
    stats: GenerationStats
    way: FillWay = "mask"


class ProofreadResult(msgspec.Struct, frozen=True, kw_only=True, tag="proofread_result"):
    """num_words: places that were masked, one after the other. way: how both sides were shown."""

    num_words: int
    seconds: float
    way: FillWay


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, tag="batch_result"):
    """One result a prompt, in the order asked."""

    results: tuple[ChatResult, ...]


class ScoredToken(msgspec.Struct, frozen=True):
    """One token and its natural log-probability after all before it."""

    token_id: int
    text: str
    logprob: float


class ScoreResult(msgspec.Struct, frozen=True, kw_only=True, tag="score_result"):
    """`logprob`: the sum over `tokens`."""

    logprob: float
    tokens: tuple[ScoredToken, ...]
    prompt_tokens: int


Result = (
    ModelsListed
    | DevicesListed
    | PlanResult
    | FolderInspected
    | CatalogListed
    | RepositoryListed
    | SpeedMeasured
    | ModelDeleted
    | ModelLoaded
    | TokenCount
    | PromptView
    | WindowView
    | ChatResult
    | BatchResult
    | FillResult
    | ScoreResult
    | ProofreadResult
)


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The request succeeded."""

    id: int
    result: Result | None = None


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The request was cancelled; text sent before stays valid."""

    id: int


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The request failed. `message` is for a person, `detail` for a report; `code`: errors.py."""

    id: int
    code: str
    message: str
    detail: str = ""


Event = (
    Hello
    | EngineStatus
    | JobsChanged
    | Started
    | TextDelta
    | SentenceRead
    | Progress
    | Done
    | Cancelled
    | Failed
)


# --- Supervisor -> worker -------------------------------------------------------------------------


class LayerStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of layers on one device."""

    device: str
    num_layers: int


class WorkerLoad(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker_load", forbid_unknown_fields=True
):
    """Loads the model in `folder`. Sends `Progress`; ends in `WorkerLoaded` or `Failed`.

    rendezvous: the folder where `world_size` ranks meet; "" = this worker is alone. stages: where
    the layers go when they are split; `head_stage` also holds embedding and head. num_slots:
    sequences held at once, as beams are; num_texts: of these, how many else are computed at once.
    """

    id: int
    folder: str
    settings: LoadSettings
    num_slots: int = 1
    num_texts: int = 1
    world_size: int = 1
    rendezvous: str = ""
    stages: tuple[LayerStage, ...] = ()
    head_stage: int = 0


class WorkerGenerate(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker_generate", forbid_unknown_fields=True
):
    """Generates from ids; the fields are those of `generation.request`. `sampling.seed` is set.

    Sends `WorkerTokens`; ends in `WorkerGenerated`, `Cancelled` or `Failed`.
    """

    id: int
    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    prefix_len: int
    output_position: int | None
    mask_index: int | None
    sampling: Sampling
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...] = ()
    num_candidates: int = 1
    forced_choices: tuple[tuple[int, ...], ...] = ()


class PlacedWord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A word's ids and the prompt of the place it stands in; as `generation.request`."""

    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    prefix_len: int
    output_position: int | None
    mask_index: int | None
    word_ids: tuple[int, ...]


class WorkerRead(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker_read", forbid_unknown_fields=True
):
    """How likely words are in their places; num_expected: alternatives wanted for each.

    stop_ids: the first ends a word. Ends in `WorkerWordsRead`, `Cancelled` or `Failed`.
    """

    id: int
    words: tuple[PlacedWord, ...]
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...] = ()
    num_expected: int = 0


class WorkerBatch(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker_batch", forbid_unknown_fields=True
):
    """Generates or scores many requests in the slots together; their own ids play no part.

    Sends `WorkerTokens` whose `candidates` are indices in `requests` (of those that draw one
    candidate); ends in `WorkerBatchGenerated`, `Cancelled` or `Failed`. banned_ids: of all, beside
    their own; thousands of them in every request would fill a frame.
    """

    id: int
    requests: tuple[WorkerGenerate, ...]
    banned_ids: tuple[int, ...] = ()


class WorkerEndRow(msgspec.Struct, frozen=True, tag="worker_end_row", forbid_unknown_fields=True):
    """Enough of one row of a batch, or of one candidate: a stop text came. Not answered.

    target: the id of the WorkerBatch or WorkerGenerate.
    """

    id: int
    target: int
    row: int


class WorkerLogits(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker_logits", forbid_unknown_fields=True
):
    """Writes float32 log-probs `logprobs` [T, V] of every position to a safetensors file.

    Ends in `WorkerLogitsWritten`, `Cancelled` or `Failed`.
    """

    id: int
    token_ids: tuple[int, ...]
    position_ids: tuple[int, ...]
    prefix_len: int
    path: str


class WorkerMeasure(msgspec.Struct, frozen=True, tag="worker_measure", forbid_unknown_fields=True):
    """Times prefill and decode. Sends `Progress`; ends in `WorkerMeasured` or `Cancelled`."""

    id: int


class WorkerMemory(msgspec.Struct, frozen=True, tag="worker_memory", forbid_unknown_fields=True):
    """Asks for real memory use. Ends in `WorkerMemoryReport`."""

    id: int


WorkerRequest = (
    Hello
    | WorkerLoad
    | WorkerGenerate
    | WorkerRead
    | WorkerBatch
    | WorkerEndRow
    | WorkerLogits
    | WorkerMeasure
    | WorkerMemory
    | Cancel
)


# --- Worker -> supervisor -------------------------------------------------------------------------


class WorkerLoaded(msgspec.Struct, frozen=True, kw_only=True, tag="worker_loaded"):
    """The model is in memory. `backend` and `num_threads` as chosen, never "auto" or 0."""

    id: int
    context_length: int
    num_slots: int
    vocab_size: int
    backend: str
    num_threads: int
    load_s: float
    memory_bytes: dict[str, int]


class WorkerTokens(msgspec.Struct, frozen=True, kw_only=True, tag="worker_tokens"):
    """Tokens since the last batch, in the order chosen; three columns of one length."""

    id: int
    candidates: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class WorkerCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """One finished sequence, stop token excluded; as `generation.request.GeneratedCandidate`."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    finish_reason: FinishReason


class WorkerGenerated(msgspec.Struct, frozen=True, kw_only=True, tag="worker_generated"):
    """Candidates best first."""

    id: int
    candidates: tuple[WorkerCandidate, ...]
    stats: GenerationStats


class WorkerExpected(msgspec.Struct, frozen=True):
    """One alternative, end excluded. logprob: sum over its tokens."""

    token_ids: tuple[int, ...]
    logprob: float


class WorkerWord(msgspec.Struct, frozen=True):
    """logprobs of a word's tokens and of its end, and the likeliest token's in each place."""

    logprobs: tuple[float, ...]
    best: tuple[float, ...]
    expected: tuple[WorkerExpected, ...] = ()


class WorkerWordsRead(msgspec.Struct, frozen=True, tag="worker_words_read"):
    """In the order of the request's words."""

    id: int
    words: tuple[WorkerWord, ...]


class WorkerBatchGenerated(msgspec.Struct, frozen=True, kw_only=True, tag="worker_batch_generated"):
    """One result a request, in their order; the ids in them are the batch's."""

    id: int
    results: tuple[WorkerGenerated, ...]


class WorkerLogitsWritten(msgspec.Struct, frozen=True, tag="worker_logits_written"):
    """The file is whole. vocab_size: V."""

    id: int
    vocab_size: int


class WorkerMeasured(msgspec.Struct, frozen=True, kw_only=True, tag="worker_measured"):
    """Rates in tokens per second; `context_length` positions were held at the end of decoding."""

    id: int
    decode_tok_s: float
    prefill_tok_s: float
    prompt_tokens: int
    context_length: int
    read_bytes_s: float


class WorkerMemoryReport(msgspec.Struct, frozen=True, kw_only=True, tag="worker_memory_report"):
    """`peak_rss_bytes`: the most main memory the process ever held."""

    id: int
    memory_bytes: dict[str, int]
    peak_rss_bytes: int


WorkerEvent = (
    Hello
    | Progress
    | WorkerLoaded
    | WorkerTokens
    | WorkerGenerated
    | WorkerWordsRead
    | WorkerBatchGenerated
    | WorkerLogitsWritten
    | WorkerMeasured
    | WorkerMemoryReport
    | Cancelled
    | Failed
)


# --- Supervisor <-> job ---------------------------------------------------------------------------

# A job gets one piece of work after its Hello, and stops at the end of input; what it has done
# until then stays. It ends in `JobDone` or `Failed` (with id 1).


class JobProgress(msgspec.Struct, frozen=True, kw_only=True, tag="job_progress"):
    """done and total in bytes of this stage; eta_s None where there is no rate yet.

    shard: which of the `num_shards` files of the result is being written, from 1; 0 = none.
    """

    stage: str
    done: int
    total: int
    rate_bytes_s: float = 0.0
    eta_s: float | None = None
    shard: int = 0
    num_shards: int = 0


class InspectRepository(
    msgspec.Struct, frozen=True, kw_only=True, tag="inspect_repository", forbid_unknown_fields=True
):
    """As `ListRepository`. Ends in `RepositoryListed` in place of `JobDone`."""

    repository: Repository
    file: str = ""


class JobDone(msgspec.Struct, frozen=True, tag="job_done"):
    """The work is done. folder: the model folder it made or checked, "" for a self-test.

    then: what is left to do before there is a model; `folder` is not one yet. quantization_error:
    what the weights lost, as bilin.json says it; 0.0 = nothing, or not known.
    """

    folder: str
    then: ConvertModel | None = None
    quantization_error: float = 0.0
    report: str = ""


JobRequest = Hello | JobWork | InspectRepository
JobEvent = Hello | JobProgress | JobDone | RepositoryListed | Failed


# --- Frames ---------------------------------------------------------------------------------------


class FrameError(ValueError):
    """A peer broke the framing or sent a message that is none of ours; the text says which."""


def encode_frame(message: msgspec.Struct) -> bytes:
    """One frame, header included.

    Raises FrameError for a message over MAX_FRAME_BYTES and for a whole number over 64 bits.
    """
    try:
        body = msgspec.msgpack.encode(message)
    except OverflowError as error:
        raise FrameError(
            f"a number in a {type(message).__name__} is too large; they go from -2^63 to 2^64 - 1"
        ) from error
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(
            f"a {type(message).__name__} of {len(body)} bytes is too large; "
            f"the limit is {MAX_FRAME_BYTES}"
        )
    return len(body).to_bytes(FRAME_HEADER_BYTES, "little") + body


class FrameBuffer:
    """Cuts a byte stream into frame bodies, however the bytes arrive. No I/O, not thread-safe."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes what was read; yields the bodies that are now whole. To be run to its end.

        Raises FrameError, after the frames before it, when a header announces more than
        MAX_FRAME_BYTES: nothing after it can be understood, so the caller closes the stream.
        """
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= FRAME_HEADER_BYTES:
            body_start = start + FRAME_HEADER_BYTES
            size = int.from_bytes(self._buffer[start:body_start], "little")
            if size > MAX_FRAME_BYTES:
                raise FrameError(
                    f"a frame announces {size} bytes; the limit is {MAX_FRAME_BYTES}. "
                    "Something that is not a frame was written to the stream"
                )
            if len(self._buffer) < body_start + size:
                break
            yield bytes(self._buffer[body_start : body_start + size])
            start = body_start + size
        del self._buffer[:start]

    @property
    def has_partial_frame(self) -> bool:
        """Whether the stream would end inside a frame if it ended now."""
        return bool(self._buffer)


@cache
def _decoder(union: Any) -> msgspec.msgpack.Decoder:  # noqa: ANN401 - a union is no type object
    return msgspec.msgpack.Decoder(union)


def decode_request(body: bytes) -> "Request | Hello":
    """The message of a frame an app sent. Raises FrameError, naming the field that is wrong."""
    return _decode(body, Request | Hello)


def decode_event(body: bytes) -> "Event":
    """The message of a frame a supervisor sent. Raises FrameError, naming what is wrong."""
    return _decode(body, Event)


def decode_worker_request(body: bytes) -> "WorkerRequest":
    """The message of a frame for a worker. Raises FrameError, naming what is wrong."""
    return _decode(body, WorkerRequest)


def decode_worker_event(body: bytes) -> "WorkerEvent":
    """The message of a frame from a worker. Raises FrameError, naming what is wrong."""
    return _decode(body, WorkerEvent)


def decode_job_request(body: bytes) -> "JobRequest":
    """The message of a frame for a job. Raises FrameError, naming what is wrong."""
    return _decode(body, JobRequest)


def decode_job_event(body: bytes) -> "JobEvent":
    """The message of a frame from a job. Raises FrameError, naming what is wrong."""
    return _decode(body, JobEvent)


def _decode(body: bytes, union: Any) -> Any:  # noqa: ANN401 - see _decoder
    try:
        return _decoder(union).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"a frame of {len(body)} bytes is not a message: {error}") from error


def hello(role: str) -> Hello:
    """Our own `Hello`."""
    return Hello(PROTOCOL_VERSION, __version__, role)


def check_hello(message: object, peer: str) -> None:
    """Raises FrameError unless `message` is a `Hello` of our protocol. `peer` names the sender."""
    if not isinstance(message, Hello):
        raise FrameError(f"the {peer} sent {type(message).__name__} before its Hello")
    if message.protocol != PROTOCOL_VERSION:
        raise FrameError(
            f"the {peer} speaks protocol {message.protocol}, this side {PROTOCOL_VERSION}; "
            f"both must come from the same installation (its version: {message.version})"
        )


def message_schema() -> dict[str, Any]:
    """JSON schema of every message in all six directions; a test keeps it as a golden file."""
    unions = [Request | Hello, Event, WorkerRequest, WorkerEvent, JobRequest, JobEvent]
    directions, components = msgspec.json.schema_components(unions)
    app, supervisor, to_worker, from_worker, to_job, from_job = directions
    return {
        "protocol": PROTOCOL_VERSION,
        "app_to_supervisor": app,
        "supervisor_to_app": supervisor,
        "supervisor_to_worker": to_worker,
        "worker_to_supervisor": from_worker,
        "supervisor_to_job": to_job,
        "job_to_supervisor": from_job,
        "components": {name: _as_sent(schema) for name, schema in components.items()},
    }


def _as_sent(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without docstrings, and without what only some versions of msgspec write: keys' values."""
    if isinstance(schema, list):
        return [_as_sent(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _as_sent(value)
        for key, value in schema.items()
        if key != "propertyNames" and not (key == "description" and isinstance(value, str))
    }
