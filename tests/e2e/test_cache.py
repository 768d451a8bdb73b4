"""What is reused, and what must not be."""
import threading

import words
from conftest import eventually, serving


def cached(reply):
    return reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def content(reply):
    return reply.json()["choices"][0]["message"]["content"]


def test_the_identical_request_is_answered_from_the_cache(server):
    first, again = server.chat("An identical request."), server.chat("An identical request.")
    assert "fwd=miss" in first.cache_status and "stored" in first.cache_status
    assert again.cache_status.startswith("TensorCache; hit; detail=answer") and int(again.headers["age"]) >= 0
    assert content(first) == content(again)
    assert first.json()["choices"] == again.json()["choices"]
    assert again.json()["usage"]["prompt_tokens"] == first.json()["usage"]["prompt_tokens"] == cached(again)


def test_a_second_turn_reuses_the_first_with_its_answer(server):
    question = {"role": "user", "content": words.text("turns", 120)}
    first = server.chat([question], max_tokens=70)
    second = server.chat([question, {"role": "assistant", "content": content(first)}, {"role": "user", "content": "And then?"}])
    usage = first.json()["usage"]
    assert second.cache_status.startswith("TensorCache; fwd=miss") and "prefix; tokens=" in second.cache_status
    # More than the first prompt: what was generated is kept as well.
    assert usage["prompt_tokens"] < cached(second) <= usage["total_tokens"]


def test_another_question_about_a_document_reuses_it(server):
    document = words.text("document", 300)
    ask = lambda question: server.chat([{"role": "system", "content": document}, {"role": "user", "content": question}])
    cold, warm = ask("What moves?"), ask("Who watches the harbor?")
    assert cached(cold) == 0 and cached(warm) > 0.85 * warm.json()["usage"]["prompt_tokens"]


def test_cache_control_is_obeyed(server):
    text = "Cache-Control, please."
    nothing = server.chat(text, {"Cache-Control": "only-if-cached"})
    assert nothing.status == 504 and nothing.error()["message"]
    unstored = server.chat(text, {"Cache-Control": "no-store"})
    assert unstored.status == 200 and server.chat(text, {"Cache-Control": "only-if-cached"}).status == 504
    server.chat(text)
    assert "hit" in server.chat(text, {"Cache-Control": "only-if-cached"}).cache_status
    assert "hit" in server.chat(text, {"Cache-Control": "max-age=3600"}).cache_status
    assert "hit" not in server.chat(text, {"Cache-Control": "no-cache"}).cache_status


def test_a_sampled_answer_without_a_seed_is_computed_anew(server):
    sampled = lambda **more: server.chat("Surprise me.", temperature=1.0, **more).cache_status
    assert "hit" not in sampled() and "hit" not in sampled()
    assert "hit" not in sampled(seed=3) and "hit" in sampled(seed=3)


def test_fields_that_change_the_answer_part_the_requests(server):
    server.chat("Part us.", seed=1)
    for more in ({"max_tokens": 9}, {"seed": 2}, {"stop": ["x"]}, {"logprobs": True}, {"repeat_penalty": 1.2}, {"logit_bias": {"5": -1}}):
        assert "hit" not in server.chat("Part us.", **({"seed": 1} | more)).cache_status, more
    assert "hit" in server.chat("Part us.", seed=1, user="somebody").cache_status


def test_identical_requests_in_flight_share_one_computation(tmp_path):
    with serving(tmp_path) as server:
        replies = []
        ask = lambda: replies.append(server.chat(words.text("flight", 200), max_tokens=40))
        threads = [threading.Thread(target=ask) for _ in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len({content(reply) for reply in replies}) == 1
        assert sum("collapsed" in reply.cache_status or "hit" in reply.cache_status for reply in replies) == 5
        server.wait_until_idle()   # figures follow the answer by a step
        assert server.metric("tensorcache_engine_generated_tokens_total") == 40


def test_a_burst_over_one_cold_prefix_computes_it_once(tmp_path):
    with serving(tmp_path, "--cache-answers", "off") as server:
        document, replies = words.text("burst", 400), []
        ask = lambda i: replies.append(server.chat([{"role": "system", "content": document}, {"role": "user", "content": f"Question {i}?"}]))
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert sorted(cached(reply) > 300 for reply in replies) == [False, True, True, True]


def test_stored_things_are_listed_and_deleted(tmp_path):
    with serving(tmp_path) as server:
        server.chat(words.text("listed", 150))
        server.wait_until_idle()   # blocks are stored after the reply
        listed = lambda: server.request("GET", "/cache").json()
        kinds = listed()["kinds"]
        assert kinds["answer"]["entries"] == 1 and kinds["prefix-block"]["entries"] > 1
        assert {entry["kind"] for entry in listed()["entries"]} == {"answer", "prefix-block"}
        removed = server.request("DELETE", "/cache").json()["removed"]
        assert removed == sum(kind["entries"] for kind in kinds.values())
        assert not listed()["entries"]
        # Memory that is being made ready at start counts too, and is kept idle until the next deletion.
        eventually(lambda: server.request("DELETE", "/cache").status == 200 and listed()["used_bytes"] < 100_000)
        again = server.chat(words.text("listed", 150))
        assert "hit" not in again.cache_status and cached(again) == 0


def test_one_tenant_never_sees_anothers_entries(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("anna key-of-anna\nbert key-of-bert\n")
    keys.chmod(0o600)
    with serving(tmp_path, "--api-key-file", str(keys)) as server:
        ask = lambda who: server.chat(words.text("tenant", 200), {"Authorization": f"Bearer key-of-{who}"})
        first, other, own = ask("anna"), ask("bert"), ask("anna")
        assert cached(first) == cached(other) == 0 and "hit" not in other.cache_status and "prefix" not in other.cache_status
        assert "hit" in own.cache_status
        assert server.chat("Anybody?").status == 401
        assert "key-of" not in server.log()


def test_deterministic_answers_are_the_same_bits_cold_warm_and_in_company(tmp_path):
    with serving(tmp_path, "--deterministic", "--cache-answers", "off") as server:
        document = words.text("bits", 200)
        prompts = [[{"role": "system", "content": document}, {"role": "user", "content": words.text(f"q{i}", 30)}] for i in range(8)]
        ask = lambda messages, headers=None: server.chat(messages, headers, logprobs=True, max_tokens=12)
        cold = [ask(messages, {"Cache-Control": "no-cache, no-store"}) for messages in prompts]
        assert all(cached(reply) == 0 for reply in cold)
        alone = [ask(messages) for messages in prompts]
        together = [None] * len(prompts)

        def run(i):
            together[i] = ask(prompts[i])
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert sum(cached(reply) > 0 for reply in alone + together) >= 2 * len(prompts) - 1
        for kept in (alone, together):
            assert [reply.json()["choices"] for reply in kept] == [reply.json()["choices"] for reply in cold]
