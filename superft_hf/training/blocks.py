"""The blocks of a network, from the images upwards: what learns at rates of its own, or is freed in turn."""

from collections import Counter

from torch import nn

from superft_hf.training.image_classification.model import head_modules

STEM = "stem"


def blocks(model: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """The parts of a network's body in the order in which an image passes them.

    The first is the stem (patches, positions, first convolutions). Then comes each block: a transformer's
    layer, a residual unit, an inverted bottleneck. What lies between blocks belongs to the next of its stage,
    or at its end to the last; what follows them all, such as a last norm, belongs to the last block. Every
    parameter outside the head is in exactly one part, frozen ones included.

    Args:
        model: A transformers classifier, timm's wrapped ones among them; not wrapped for several processes.

    Returns:
        Name and parameters of each part that has any; one part alone where no blocks are found.

    Raises:
        ModelError: If body and head cannot be told apart.
    """
    in_head = {id(one) for head in head_modules(model) for one in head.parameters()}
    places = _timm_places(model, in_head) or _places(model, in_head)
    body = {name: one for name, one in model.named_parameters() if id(one) not in in_head}
    place_of = {name: places[id(one)] for name, one in body.items()}
    return [
        (_name(place, place_of) if place else STEM, [body[name] for name in body if place_of[name] == place])
        for place in sorted(set(place_of.values()))
    ]


def _timm_places(model: nn.Module, in_head: set[int]) -> dict[int, int] | None:
    """The place of each parameter as timm itself groups them for layer decay; None where it does not say."""
    if not hasattr(model, "timm_model"):
        return None
    from timm.models import group_parameters

    network = model.timm_model
    try:
        place_of = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    except (AttributeError, NotImplementedError, AssertionError, TypeError):
        return None
    places = {id(one): place_of[name] for name, one in network.named_parameters()}
    first_of_head = min((places[one] for one in in_head if one in places), default=len(places))
    last = max((place for place in places.values() if place < first_of_head), default=0)
    return {one: min(place, last) for one, place in places.items()}


def _places(model: nn.Module, in_head: set[int]) -> dict[int, int]:
    """The place of each parameter, by the lists of modules that the network is made of; 0 is the stem."""
    found: dict[int, int] = {}
    place = 0
    for stage in _stages(model, in_head):
        units = _units(stage)
        first, place = place + 1, place + len(units)
        is_past = False
        for one in _parameters(stage):
            at = next((index for index, unit in enumerate(units) if _holds(unit, one)), None)
            is_past = is_past or at is not None
            between = place if is_past else first if first > 1 else 0
            found[id(one)] = first + at if at is not None else between
    is_past = False
    for one in model.parameters():
        is_past = is_past or id(one) in found
        found.setdefault(id(one), place if is_past else 0)
    return found


def _stages(model: nn.Module, in_head: set[int]) -> list[list[nn.Module]]:
    """The elements of the largest list of the body, each with those of equally long lists beside it.

    Some networks keep the patches of their stages in one list and the blocks in another.
    """
    found = [
        (parent, one) for parent, one in _outer_lists(model)
        if not any(id(weight) in in_head for weight in one.parameters())
    ]  # fmt: skip
    if not found:
        return []
    parent, largest = max(found, key=lambda pair: _size(pair[1]))
    beside = [one for other, one in found if other is parent and len(one) == len(largest)]
    return [list(stage) for stage in zip(*beside, strict=True)]


def _outer_lists(module: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """(Parent, list) of every list of modules that lies in no other."""
    found = []
    for child in module.children():
        found += [(module, child)] if _is_list(child) else _outer_lists(child)
    return found


def _units(stage: list[nn.Module]) -> list[nn.Module]:
    """The blocks of a stage; a block that stands by itself is a stage of one."""
    lists = [one for one in stage if _is_list(one)]
    lists += [child for one in stage for child in one.children() if _is_list(child)]
    lists = [one for one in lists if any(_size(unit) and len(list(unit.children())) for unit in one)]
    if not lists:
        return [max(stage, key=_size)]
    return [unit for unit in max(lists, key=_size) if _size(unit)]


def _parameters(stage: list[nn.Module]) -> list[nn.Parameter]:
    return [one for module in stage for one in module.parameters()]


def _holds(module: nn.Module, wanted: nn.Parameter) -> bool:
    return any(one is wanted for one in module.parameters())


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, (nn.ModuleList, nn.Sequential))


def _size(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def _name(place: int, place_of: dict[str, int]) -> str:
    """The outermost module that holds most tensors of a part and none of another."""
    inside = [name for name, at in place_of.items() if at == place]
    prefix = ""
    while any(at != place for name, at in place_of.items() if name.startswith(prefix)):
        depth = prefix.count(".") + 1
        starts = Counter(".".join(name.split(".")[:depth]) + "." for name in inside)
        prefix = starts.most_common(1)[0][0]
        inside = [name for name in inside if name.startswith(prefix)]
    return prefix.removesuffix(".")
