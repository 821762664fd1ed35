import copy

import torch
from torch import nn

from superft_hf.training.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD


def made(kind, **options):
    torch.manual_seed(0)
    body, head = nn.Linear(5, 5), nn.Linear(5, 2)
    groups = [{"params": list(body.parameters())}, {"params": list(head.parameters())}]
    return nn.Sequential(body, head), kind(groups, lr=0.1, **options)


def update(model, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    optimizer.train()
    for one in model.parameters():
        if one.requires_grad:
            one.grad = torch.randn(one.shape, generator=generator)
    optimizer.step()
    optimizer.zero_grad()


def weights(model):
    return [one.detach().clone() for one in model.parameters()]


def equal(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_an_evaluation_leaves_the_training_weights_to_the_bit():
    for kind in (ScheduleFreeAdamW, ScheduleFreeSGD):
        model, optimizer = made(kind)
        for seed in range(20):
            update(model, optimizer, seed)
            own = weights(model)
            optimizer.eval()
            optimizer.eval()
            assert seed == 0 or not equal(weights(model), own)  # after one update x is y
            optimizer.train()
            optimizer.train()
            assert equal(weights(model), own)


def test_the_package_alone_would_not():
    from schedulefree import SGDScheduleFree

    model, optimizer = made(SGDScheduleFree)
    changed = []
    for seed in range(20):
        update(model, optimizer, seed)
        own = weights(model)
        optimizer.eval()
        optimizer.train()
        changed.append(not equal(weights(model), own))
    assert any(changed)


def test_settled_weights_stay():
    model, optimizer = made(ScheduleFreeSGD)
    for seed in range(3):
        update(model, optimizer, seed)
    optimizer.settle()
    settled = weights(model)
    optimizer.eval()
    assert equal(weights(model), settled) and not optimizer.is_training


def test_layers_that_are_freed_later_begin_their_average_then():
    """Freed after ten updates, they are where they would be had they begun anew."""
    late, optimizer = made(ScheduleFreeSGD, momentum=0.5)
    fresh, other = made(ScheduleFreeSGD, momentum=0.5)
    for one in late[0].parameters():
        one.requires_grad_(False)
    for seed in range(10):
        update(late, optimizer, seed)
    assert equal(weights(late[0]), weights(fresh[0]))
    for one in late[0].parameters():
        one.requires_grad_(True)
    for seed in range(10, 13):
        update(late, optimizer, seed)
        update(fresh, other, seed)
    optimizer.eval()
    other.eval()
    assert equal(weights(late[0]), weights(fresh[0]))
    assert [group["k"] for group in optimizer.param_groups] == [3, 13]


def test_a_resumed_optimizer_goes_on_to_the_bit():
    for kind in (ScheduleFreeAdamW, ScheduleFreeSGD):
        model, optimizer = made(kind)
        for seed in range(5):
            update(model, optimizer, seed)
        again, resumed = made(kind)
        again.load_state_dict(model.state_dict())
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for seed in range(5, 8):
            update(model, optimizer, seed)
            update(again, resumed, seed)
        assert equal(weights(model), weights(again))
        optimizer.eval()
        resumed.eval()
        assert equal(weights(model), weights(again))
