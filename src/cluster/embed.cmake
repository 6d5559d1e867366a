# Writes OUT, a C++ file that holds HARDWARE and MODELS, two TOML files, as raw strings.
file(READ ${HARDWARE} hardware)
file(READ ${MODELS} models)
file(WRITE ${OUT} "#include \"cluster/embedded.h\"
namespace fathom::cluster {
const std::string_view kHardwareToml = R\"toml(${hardware})toml\";
const std::string_view kModelsToml = R\"toml(${models})toml\";
}
")
