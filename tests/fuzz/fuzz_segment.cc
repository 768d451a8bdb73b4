// Whatever the bytes of a segment file: it is read without harm, and no record reaches beyond it.
#include <cstring>

#include "store/disk/segment_reader.h"
#include "fuzz_target.h"

namespace {

using namespace tensorcache;

class Bytes final : public file::File {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  file::Transfer read(std::uint64_t offset, std::span<const std::span<std::byte>> parts) override {
    std::size_t done = 0;
    for (const auto& part : parts) {
      const std::size_t left = offset + done < bytes_.size() ? bytes_.size() - offset - done : 0;
      const std::size_t count = std::min(left, part.size());
      if (count > 0) std::memcpy(part.data(), bytes_.data() + offset + done, count);
      done += count;
    }
    return {done, 0};
  }
  file::Transfer write(std::uint64_t, std::span<const std::span<const std::byte>>) override { return {0, EROFS}; }
  int sync() override { return EROFS; }
  int truncate(std::uint64_t) override { return EROFS; }
  int size(std::uint64_t* bytes) override {
    *bytes = bytes_.size();
    return 0;
  }
  void will_need(std::uint64_t, std::uint64_t) override {}
  bool is_at(const std::string&) override { return true; }

 private:
  const std::span<const std::byte> bytes_;
};

std::string segment(bool sealed) {
  const disk::SegmentHeader header{1, 1'700'000'000'000, {11, 22}};
  std::vector<std::byte> file;
  const auto append = [&](std::span<const std::byte> bytes) { file.insert(file.end(), bytes.begin(), bytes.end()); };
  append(disk::encode_segment_header(header));
  std::vector<disk::Located> records;
  for (std::uint64_t i = 0; i < 4; ++i) {
    const std::string value(i * 50, 'v');
    disk::RecordHeader record;
    record.type = static_cast<disk::RecordType>(1 + (i == 3 ? 1 : 0));
    record.value_bytes = i == 3 ? 0 : value.size();
    record.key = Key::of(value);
    const auto payload = std::as_bytes(std::span(value)).first(record.value_bytes);
    record.payload_checksum = disk::payload_checksum(payload, header.salt, file.size());
    records.push_back({file.size(), record});
    append(disk::encode_record_header(record, header.salt, file.size()));
    append(payload);
    file.resize((file.size() + disk::kAlignment - 1) / disk::kAlignment * disk::kAlignment);
  }
  if (sealed) append(disk::encode_summary(records, header, file.size()));
  return {reinterpret_cast<const char*>(file.data()), file.size()};
}

}   // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes file({reinterpret_cast<const std::byte*>(data), size});
  disk::SegmentContents contents;
  FUZZ_CHECK(disk::read_segment_header(file, 1, &contents) == 0);
  if (contents.verdict != disk::SegmentVerdict::kGood) return 0;
  const auto check = [&](std::span<const disk::Located> records) {
    for (const disk::Located& record : records) {
      FUZZ_CHECK(record.offset >= disk::kSegmentHeaderBytes && record.header.value_bytes <= size);
      FUZZ_CHECK(record.offset + disk::record_bytes(record.header.value_bytes) <= size);
    }
    return true;
  };
  FUZZ_CHECK(disk::read_records(file, &contents, check) == 0);
  FUZZ_CHECK(contents.end <= size);
  return 0;
}

std::vector<std::string> fuzz_seeds() { return {segment(false), segment(true)}; }
