#include "session/fast_cipher.hpp"

#if defined(POSTERN_IPSEC_MB) && defined(__x86_64__)
#include <intel-ipsec-mb.h>
#include <strings.h>
#endif

namespace postern::session {

#if defined(POSTERN_IPSEC_MB) && defined(__x86_64__)

namespace {

struct Functions {
  aes_gcm_pre_t expand_gcm = nullptr;
  aes_gcm_enc_dec_t encrypt = nullptr;
  aes_gcm_enc_dec_t decrypt = nullptr;
  keyexp_t expand = nullptr;
  aes_cfb_t cfb_one = nullptr;
};

class PayloadKey final : public FastKey {
 public:
  PayloadKey(const Functions& functions, const Raw& raw) : functions_(functions) {
    functions.expand_gcm(raw.data(), &key_);
  }
  ~PayloadKey() override { explicit_bzero(&key_, sizeof key_); }

  void seal(std::uint8_t* to, ByteView from, const std::uint8_t* nonce, ByteView aad) const override {
    gcm_context_data context;
    functions_.encrypt(&key_, &context, to, from.data(), from.size(), nonce, aad.data(), aad.size(), to + from.size(),
                       kTagSize);
  }
  bool open(std::uint8_t* to, ByteView from, const std::uint8_t* nonce, ByteView aad) const override {
    if (from.size() < kTagSize) return false;
    gcm_context_data context;
    std::array<std::uint8_t, kTagSize> tag;
    const std::size_t size = from.size() - kTagSize;
    functions_.decrypt(&key_, &context, to, from.data(), size, nonce, aad.data(), aad.size(), tag.data(), tag.size());
    return equal_constant_time(tag, from.subspan(size));
  }
  void mask(std::uint8_t*, const std::uint8_t*) const override {}

 private:
  const Functions& functions_;
  alignas(64) gcm_key_data key_;
};

class HeaderKey final : public FastKey {
 public:
  HeaderKey(const Functions& functions, const Raw& raw) : functions_(functions) {
    alignas(16) std::array<std::uint8_t, kSchedule> unused;
    functions.expand(raw.data(), key_.data(), unused.data());
    explicit_bzero(unused.data(), unused.size());
  }
  ~HeaderKey() override { explicit_bzero(key_.data(), key_.size()); }

  void seal(std::uint8_t*, ByteView, const std::uint8_t*, ByteView) const override {}
  bool open(std::uint8_t*, ByteView, const std::uint8_t*, ByteView) const override { return false; }
  void mask(std::uint8_t* to, const std::uint8_t* sample) const override {
    // CFB of a zero block gives the encrypted initialisation vector, which is ECB of one block.
    static constexpr std::array<std::uint8_t, kSize> kZero{};
    functions_.cfb_one(to, kZero.data(), sample, key_.data(), kSize);
  }

 private:
  static constexpr std::size_t kSchedule = 11 * 16;
  const Functions& functions_;
  alignas(16) std::array<std::uint8_t, kSchedule> key_;
};

class IpsecMbCipher final : public FastCipher {
 public:
  explicit IpsecMbCipher(const Functions& functions) : functions_(functions) {}
  std::unique_ptr<FastKey> make_key(const FastKey::Raw& raw, FastKeyUse use) const override {
    if (use == FastKeyUse::Header) return std::make_unique<HeaderKey>(functions_, raw);
    return std::make_unique<PayloadKey>(functions_, raw);
  }

 private:
  const Functions functions_;
};

}  // namespace

std::unique_ptr<FastCipher> FastCipher::detect() {
  if (__builtin_cpu_supports("aes") == 0 || __builtin_cpu_supports("pclmul") == 0) return nullptr;
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (manager == nullptr) return nullptr;
  init_mb_mgr_auto(manager, nullptr);
  const Functions functions{manager->gcm128_pre, manager->gcm128_enc, manager->gcm128_dec, manager->keyexp_128,
                            manager->aes128_cfb_one};
  // The manager's job queues are half a megabyte that nobody needs here.
  free_mb_mgr(manager);
  const bool complete = functions.expand_gcm != nullptr && functions.encrypt != nullptr &&
                        functions.decrypt != nullptr && functions.expand != nullptr && functions.cfb_one != nullptr;
  return complete ? std::make_unique<IpsecMbCipher>(functions) : nullptr;
}

#else

std::unique_ptr<FastCipher> FastCipher::detect() {
  return nullptr;
}

#endif

}  // namespace postern::session
