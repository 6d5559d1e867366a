#include "cluster/catalogue.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "cluster/nearest.h"

namespace fathom::cluster {
namespace {

std::string hint_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return std::string(e.what()) + " / " + e.hint();
  }
  return "no error";
}

TEST(Catalogue, EveryFigureHasASource) {
  const Catalogue catalogue = Catalogue::built_in();
  for (const char* kind : {"gpu", "nic", "switch", "link"})
    for (const std::string& id : catalogue.names(kind)) {
      const Entry& entry = catalogue.find(kind, id);
      for (const std::string& key : entry.keys())
        EXPECT_FALSE(entry.find(key)->source.empty()) << id << "." << key;
    }
  for (const char* id : {"a100", "b200", "cpu", "gb200-nvl72", "h100", "h200", "h800"})
    EXPECT_GT(catalogue.gpu(id).at("bf16_tflops"), 0) << id;
}

TEST(Catalogue, UnknownHardwareNamesTheNearest) {
  const Catalogue catalogue = Catalogue::built_in();
  EXPECT_NE(hint_of([&] { catalogue.gpu("h801"); }).find("nearest is 'h800'"), std::string::npos);
}

TEST(Catalogue, RefusesBadFigures) {
  Catalogue catalogue = Catalogue::built_in();
  const char* bad[] = {"[gpu.x]\nbf16_tflops = { value = -1, source = 's' }",
                       "[gpu.x]\nbf16_tflops = { value = 0, source = 's' }",
                       "[gpu.x]\nbf16_tflops = { value = nan, source = 's' }",
                       "[gpu.x]\nbf16_tflop = { value = 1, source = 's' }",
                       "[gpu.x]\nbf16_tflops = { value = 1 }",
                       "[gpu.x]\nbf16_tflops = { value = 1, source = 's', unit = 't' }",
                       "[gpu.x]\nbf16_tflops = 1",
                       "[gpu.x]\nprice_per_gpu_hour = { value = -2, source = 's' }",
                       "[gpus.x]\n",
                       "[gpu.x",
                       "gpu = 1"};
  for (const char* text : bad) EXPECT_THROW(catalogue.add_toml(text, "test"), Error) << text;
}

TEST(Catalogue, UserEntriesAddAndReplace) {
  Catalogue catalogue = Catalogue::built_in();
  catalogue.add_toml("[gpu.mine]\nmemory_gib = { value = 96, source = 'label' }", "test");
  EXPECT_EQ(catalogue.gpu("mine").at("memory_gib"), 96);
  EXPECT_NE(hint_of([&] { catalogue.gpu("mine").at("nic_gb_s"); }).find("--set mine.nic_gb_s"),
            std::string::npos);
}

TEST(Catalogue, TakesTheDoctorsMeasurements) {
  const std::string path = testing::TempDir() + "desk.json";
  std::ofstream(path) << R"({"cpu": "Desk", "read_gb_s": 40.5, "bf16_tflops": 1.5})";
  Catalogue catalogue = Catalogue::built_in();
  catalogue.add_file(path);
  EXPECT_EQ(catalogue.gpu("desk").at("memory_gb_s"), 40.5);
  std::ofstream(path) << R"({"cpu": "Desk"})";
  EXPECT_THROW(catalogue.add_file(path), Error);
  std::filesystem::remove(path);
}

TEST(Catalogue, WhatIf) {
  Catalogue catalogue = Catalogue::built_in();
  catalogue.set("h800.nic_gb_s=100");
  EXPECT_THROW(catalogue.check_overrides_used(), UsageError);
  EXPECT_EQ(catalogue.gpu("h800").at("nic_gb_s"), 100);
  EXPECT_NO_THROW(catalogue.check_overrides_used());
  EXPECT_THROW(catalogue.set("h800.nic_gb_s=-1"), Error);
  EXPECT_THROW(catalogue.set("h800.nic=1"), Error);
  EXPECT_THROW(catalogue.set("h80.nic_gb_s=1"), Error);
  for (const char* text : {"", "=", "h800", "h800.nic_gb_s", "h800.nic_gb_s=x", ".a=1", "a=1"})
    EXPECT_THROW(catalogue.set(text), UsageError) << text;
}

TEST(Nearest, Numbers) {
  EXPECT_EQ(nearest_multiple(13, 8), 16);
  EXPECT_EQ(nearest_multiple(1, 8), 8);
  EXPECT_EQ(nearest_divisor(60, 256), 64);
  EXPECT_EQ(nearest_divisor(7, 61), 1);
}

}  // namespace
}  // namespace fathom::cluster
