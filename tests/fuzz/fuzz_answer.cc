// Whatever the bytes, a stored answer decodes to nothing or to the one answer that encodes to them.
#include <string_view>

#include "serving/answer/answer.h"
#include "fuzz_target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto answer = tensorcache::answer::decode_answer(bytes)) FUZZ_CHECK(tensorcache::answer::encode_answer(*answer) == bytes);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  tensorcache::answer::Answer answer;
  answer.deltas = {{"Hi", {{{5, "H", -0.5f}, {{5, "H", -0.5f}, {6, "x", -2.0f}}}, {{7, "i", -1.0f}, {}}}}, {"", {}}, {" there", {}}};
  answer.usage = {11, 3, 8};
  return {tensorcache::answer::encode_answer({}), tensorcache::answer::encode_answer(answer)};
}
