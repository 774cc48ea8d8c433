# Compiles the Vulkan shaders to SPIR-V in headers, and lists these in vulkan_shaders.inc. Without the compiler or Vulkan's
# headers, the backend is left out. Sets ZI_VULKAN.
find_program(ZI_GLSLANG NAMES glslangValidator glslang)
find_path(ZI_VULKAN_HEADERS vulkan/vulkan.h)
set(ZI_VULKAN OFF)
if(ZI_GLSLANG AND ZI_VULKAN_HEADERS AND NOT ZI_OPS_ONLY)
  set(ZI_VULKAN ON)
elseif(NOT ZI_OPS_ONLY)
  message(STATUS "Without Vulkan: it takes its headers (Debian: libvulkan-dev) and glslangValidator (glslang-tools)")
endif()

set(ZI_SHADER_FOLDER ${PROJECT_SOURCE_DIR}/src/backend/vulkan/shaders)
set(ZI_SHADER_OUTPUT ${PROJECT_BINARY_DIR}/shaders)
file(GLOB ZI_SHADER_INCLUDES CONFIGURE_DEPENDS ${ZI_SHADER_FOLDER}/*.glsl)
file(GLOB ZI_SHADER_SOURCES CONFIGURE_DEPENDS ${ZI_SHADER_FOLDER}/*.comp)

# Cooperative matrices take a compiler and headers that know of them (Debian 13 has them).
set(ZI_MATRIX_SHADERS OFF)
if(ZI_VULKAN)
  file(WRITE ${ZI_SHADER_OUTPUT}/try_matrix.comp
       "#version 460\n#extension GL_KHR_cooperative_matrix : require\nvoid main() {}\n")
  execute_process(COMMAND ${ZI_GLSLANG} -V --target-env vulkan1.2 -o ${ZI_SHADER_OUTPUT}/try_matrix.spv ${ZI_SHADER_OUTPUT}/try_matrix.comp
                  RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
  file(STRINGS ${ZI_VULKAN_HEADERS}/vulkan/vulkan_core.h ZI_MATRIX_HEADER REGEX "define VK_KHR_cooperative_matrix 1")
  if(result EQUAL 0 AND ZI_MATRIX_HEADER)
    set(ZI_MATRIX_SHADERS ON)
  else()
    message(STATUS "Vulkan without cooperative matrices: its headers or glslangValidator do not know them")
    list(FILTER ZI_SHADER_SOURCES EXCLUDE REGEX "_matrix.comp$")
  endif()
endif()

# Integer dot products take a compiler that lets a shader name an instruction of SPIR-V, and headers that know of them.
set(ZI_DOT_SHADERS OFF)
if(ZI_VULKAN)
  file(WRITE ${ZI_SHADER_OUTPUT}/try_dots.comp
       "#version 460\n#extension GL_EXT_spirv_intrinsics : require\nvoid main() {}\n")
  execute_process(COMMAND ${ZI_GLSLANG} -V --target-env vulkan1.2 -o ${ZI_SHADER_OUTPUT}/try_dots.spv ${ZI_SHADER_OUTPUT}/try_dots.comp
                  RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
  file(STRINGS ${ZI_VULKAN_HEADERS}/vulkan/vulkan_core.h ZI_DOT_HEADER REGEX "define VK_KHR_shader_integer_dot_product 1")
  if(result EQUAL 0 AND ZI_DOT_HEADER)
    set(ZI_DOT_SHADERS ON)
  else()
    message(STATUS "Vulkan without integer dot products: its headers or glslangValidator do not know them")
    list(FILTER ZI_SHADER_SOURCES EXCLUDE REGEX "/(linear_dots|quantize).comp$")
  endif()
endif()
if(ZI_VULKAN)
  foreach(source ${ZI_SHADER_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    set(header ${ZI_SHADER_OUTPUT}/${name}.h)
    add_custom_command(OUTPUT ${header}
        COMMAND ${ZI_GLSLANG} -V --quiet --target-env vulkan1.2 -I${ZI_SHADER_FOLDER} --vn ${name}_spv -o ${header} ${source}
        DEPENDS ${source} ${ZI_SHADER_INCLUDES} VERBATIM)
    list(APPEND ZI_SHADER_HEADERS ${header})
    string(APPEND ZI_SHADER_LIST "#include \"${name}.h\"\n")
  endforeach()
  file(CONFIGURE OUTPUT ${ZI_SHADER_OUTPUT}/vulkan_shaders.inc CONTENT "${ZI_SHADER_LIST}" @ONLY)
endif()
