# Bundles the page's JavaScript modules, and its style sheets, into one file each: fewer requests load faster.

# Writes style.css into FILE, with each @import replaced by the imported file.
function(zi_join_styles web file)
  file(STRINGS ${web}/style.css lines)
  file(WRITE ${file} "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^@import \"(.*)\";$")
      file(READ ${web}/${CMAKE_MATCH_1} part)
      file(APPEND ${file} "${part}")
    endif()
  endforeach()
endfunction()

# Writes the module NAME of js/ into FILE, after all modules that it imports, directly or not. Each module becomes a function that is called once and returns the module's exports. Only these forms of import and export are supported:
#   import { a, b as c } from './module.js';   export function f, export async function f,
#   import * as name from './module.js';       export const c, export class C
# Module names consist of the letters a to z. Any other form, and circular imports, are errors.
function(zi_join_modules web file name)
  set_property(GLOBAL PROPERTY zi_joined "")
  file(WRITE ${file} "const page = {};\n")
  zi_join_module(${web} ${file} ${name} "")
endfunction()

# Fails if IMPORT, a statement in the file PATH, names something that module OTHER does not export: in the bundle it
# would just be undefined.
function(zi_check_names path other import)
  get_property(exports GLOBAL PROPERTY zi_exports_${other})
  string(REGEX MATCH "{.*}" names "${import}")
  string(REGEX REPLACE "[{} ]+(as [^,}]*)?" "" names "${names}")
  string(REPLACE "," ";" names "${names}")
  foreach(name IN LISTS names)
    if(NOT name IN_LIST exports)
      message(FATAL_ERROR "${path}: ${other}.js does not export ${name}")
    endif()
  endforeach()
endfunction()

# Appends module NAME to FILE, after the modules that it imports, unless it is there already. above: the modules whose
# imports led to it, to detect circles.
function(zi_join_module web file name above)
  get_property(joined GLOBAL PROPERTY zi_joined)
  if(name IN_LIST joined)
    return()
  endif()
  set(path ${web}/js/${name}.js)
  if(name IN_LIST above)
    message(FATAL_ERROR "${path}: imports itself, by way of ${above}")
  endif()
  file(READ ${path} text)
  set(text "\n${text}")
  string(REGEX MATCHALL "\nimport [^\n;]* from '\\./[a-z]+\\.js'" imports "${text}")
  foreach(import IN LISTS imports)
    string(REGEX REPLACE ".*'\\./([a-z]+)\\.js'" "\\1" other "${import}")
    zi_join_module(${web} ${file} ${other} "${above};${name}")
    zi_check_names(${path} ${other} "${import}")
  endforeach()

  string(REGEX MATCHALL "\nexport (async function|function|const|class) [A-Za-z0-9_$]+" exports "${text}")
  list(TRANSFORM exports REPLACE ".* " "")
  set_property(GLOBAL PROPERTY zi_exports_${name} "${exports}")
  string(REPLACE ";" ", " exports "${exports}")
  string(REGEX REPLACE "\nimport ({[^}]*}) from '\\./([a-z]+)\\.js'" "\nconst \\1 = page.\\2" text "${text}")
  string(REGEX REPLACE "(\nconst {[^}]*) as ([^}]*} = page)" "\\1: \\2" text "${text}") # one in each line
  string(REGEX REPLACE "\nimport \\* as ([a-z]+) from '\\./([a-z]+)\\.js'" "\nconst \\1 = page.\\2" text "${text}")
  string(REGEX REPLACE "\nexport (async function|function|const|class) " "\n\\1 " text "${text}")
  if(text MATCHES "\n(import|export)[^\n]*" OR text MATCHES "[^\n]*import\\([^\n]*" OR text MATCHES "[^\n]*{[^\n}]* as [^\n]* = page[^\n]*")
    string(STRIP "${CMAKE_MATCH_0}" line)
    message(FATAL_ERROR "${path}: cmake/join.cmake does not know this form of import or export: ${line}")
  endif()
  file(APPEND ${file} "page.${name} = (() => {${text}return { ${exports} };\n})();\n")
  set_property(GLOBAL APPEND PROPERTY zi_joined ${name})
endfunction()
